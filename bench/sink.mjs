// An S3 server that takes everything and keeps nothing, so that a benchmark measures who sends. It runs as a process of
// its own and prints its port. `oci-layout` is there: the store counts as probed.
//
//     --delay MS              answers each request this much later
//     --mib-per-second N      takes no more than this on each connection
import { once } from "node:events";
import { createServer } from "node:http";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: { delay: { type: "string", default: "0" }, "mib-per-second": { type: "string" } },
});
const delayMs = Number(values.delay);
const bytesPerMs = Number(values["mib-per-second"] ?? Infinity) * 1048.576;

const layout = '{"imageLayoutVersion":"1.0.0"}';

const server = createServer(async (request, response) => {
  const { method, url = "" } = request;
  if (bytesPerMs === Infinity) {
    request.resume();
    await once(request, "end");
  } else {
    const began = performance.now();
    let bytes = 0;
    for await (const chunk of request) {
      bytes += chunk.length;
      const aheadMs = bytes / bytesPerMs - (performance.now() - began);
      if (aheadMs > 1) await sleep(aheadMs);
    }
  }
  if (delayMs > 0) await sleep(delayMs);
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
