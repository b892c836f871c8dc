// Runs in CloudFront before each request. Its runtime, cloudfront-js-2.0, takes ECMAScript 5.1.
function handler(event) {
  var request = event.request;
  var headers = request.headers;
  var mayPull = "${AnonymousPull}" === "true" && (request.method === "GET" || request.method === "HEAD");
  // Registry clients send a token only after this answer. The service's own comes with its WWW-Authenticate renamed.
  if (request.uri.indexOf("/v2/") === 0 && !headers.authorization && !mayPull) {
    var text = "Cannot answer without a token: expected one as Bearer, or as the password of any user";
    return {
      statusCode: 401,
      statusDescription: "Unauthorized",
      headers: {
        "www-authenticate": { value: 'Basic realm="Stowage"' },
        "content-type": { value: "application/json" },
        "x-request-id": { value: event.context.requestId },
      },
      body: JSON.stringify({ errors: [{ code: "UNAUTHORIZED", message: text }] }) + "\n",
    };
  }
  // The service gets its own host, and makes URLs and pull commands of this one.
  headers["x-forwarded-host"] = { value: headers.host.value };
  return request;
}
