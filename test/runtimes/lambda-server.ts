/**
 * Stands in for AWS Lambda behind a function URL: `lambda-server.ts HANDLER.js`. Of each request it makes an event (payload
 * version 2, the body in base64), hands it to the real handler, and answers with what that returns. As Lambda it takes and
 * gives at most 6 MiB of JSON, and renames `WWW-Authenticate`. `POST /@event` hands over the body itself, as another
 * service's event.
 */
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import process from "node:process";
import { pathToFileURL } from "node:url";

const maxEventBytes = 6 * 1024 * 1024;
const timeoutMs = 60_000;

interface Answer {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly isBase64Encoded: boolean;
}

interface LambdaModule {
  readonly handler: (event: unknown, context: object) => Promise<Answer | undefined>;
}

const { handler } = (await import(pathToFileURL(process.argv[2] ?? "").href)) as LambdaModule;

const server = createServer((request, response) => void answer(request, response));
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  process.stdout.write(`listens on http://127.0.0.1:${port}\n`);
});

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    const body = Buffer.concat(await request.toArray());
    const isEvent = request.url === "/@event";
    const event: unknown = isEvent ? JSON.parse(body.toString()) : eventOf(request, body);
    if (sizeOf(event) > maxEventBytes) {
      response.writeHead(413).end('{"Message":"Request must be smaller than 6291456 bytes"}');
      return;
    }
    const deadline = Date.now() + timeoutMs;
    const result = await handler(event, { getRemainingTimeInMillis: () => deadline - Date.now() });
    if (isEvent || result === undefined) {
      response.end("{}");
      return;
    }
    if (sizeOf(result) > maxEventBytes) throw new Error(`the answer has ${sizeOf(result)} bytes`);
    response.writeHead(result.statusCode, Object.fromEntries(Object.entries(result.headers).map(renameHeader)));
    response.end(Buffer.from(result.body, result.isBase64Encoded ? "base64" : "utf8"));
  } catch (error) {
    process.stderr.write(`${String(error)}\n`);
    response.writeHead(502).end('{"Message":"Internal Server Error"}');
  }
}

function eventOf({ method, url = "/", headers }: IncomingMessage, body: Buffer): unknown {
  const { pathname, search } = new URL(url, "http://lambda");
  return {
    version: "2.0",
    rawPath: pathname,
    rawQueryString: search.slice(1),
    headers: { ...headers, "x-forwarded-proto": "http" }, // a function URL says https
    requestContext: { http: { method, path: pathname }, domainName: headers.host, stage: "$default" },
    ...(body.length > 0 && { body: body.toString("base64") }),
    isBase64Encoded: body.length > 0,
  };
}

function renameHeader([name, value]: [string, string]): [string, string] {
  return [name.toLowerCase() === "www-authenticate" ? "x-amzn-Remapped-www-authenticate" : name, value];
}

function sizeOf(event: unknown): number {
  return Buffer.byteLength(JSON.stringify(event));
}
