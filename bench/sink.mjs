// An S3 server that takes everything and keeps nothing, so that a benchmark measures who sends. It runs as a process of
// its own and prints its port. `oci-layout` is there: the store counts as probed.
import { once } from "node:events";
import { createServer } from "node:http";

const layout = '{"imageLayoutVersion":"1.0.0"}';

const server = createServer(async (request, response) => {
  const { method, url = "" } = request;
  request.resume();
  await once(request, "end");
  if (method === "POST" && url.includes("uploadId=")) {
    response.end("<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>");
  } else if (method === "POST") {
    response.end("<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>");
  } else if (method === "PUT") {
    response.writeHead(200, { ETag: '"e"' }).end();
  } else if (url.includes("list-type=2")) {
    response.end("<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>");
  } else if (url.split("?")[0]?.endsWith("/oci-layout")) {
    response.writeHead(200, { ETag: '"e"', "Content-Length": layout.length }).end(method === "HEAD" ? "" : layout);
  } else {
    const body = "<Error><Code>NoSuchKey</Code></Error>";
    response.writeHead(404, { "Content-Length": body.length }).end(method === "HEAD" ? "" : body);
  }
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (typeof address === "object" && address !== null) process.stdout.write(`${address.port}\n`);
});
