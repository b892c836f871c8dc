// An S3 server that takes everything and keeps nothing, so that a benchmark measures who sends. It runs as a process of
// its own and prints its port. `oci-layout` is there: the store counts as probed. `GET /requests` answers how many requests
// there were.
//
//     --delay MS              answers each request this much later
//     --mb-per-second N       takes no more than this on each connection, in millions of bytes
//     --keep BYTES            keeps objects of at most this size, in memory, and serves them
import { once } from "node:events";
import { createServer } from "node:http";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    delay: { type: "string", default: "0" },
    "mb-per-second": { type: "string" },
    keep: { type: "string", default: "0" },
  },
});
const delayMs = Number(values.delay);
const bytesPerMs = Number(values["mb-per-second"] ?? Infinity) * 1000;
const keepBytes = Number(values.keep);

/** A pause is never shorter, so that many connections do not take all of the processor for their timers. */
const minPauseMs = 4;
const objects = new Map([["oci-layout", { bytes: Buffer.from('{"imageLayoutVersion":"1.0.0"}'), etag: '"e"' }]]);
let requests = 0;
let writes = 0;

const server = createServer(async (request, response) => {
  const { method, url = "" } = request;
  if (url === "/requests") return response.end(String(requests));
  requests++;
  const body = await takeBody(request);
  if (delayMs > 0) await sleep(delayMs);
  const path = url.split("?")[0] ?? "";
  const key = path.endsWith("/oci-layout") ? "oci-layout" : path;
  if (method === "POST" && url.includes("uploadId=")) {
    response.end("<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>");
  } else if (method === "POST") {
    response.end("<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>");
  } else if (method === "PUT") {
    const { status, etag } = put(key, body, request.headers);
    response.writeHead(status, { ETag: etag }).end();
  } else if (method === "DELETE") {
    objects.delete(key);
    response.writeHead(204).end();
  } else if (url.includes("list-type=2")) {
    response.end("<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>");
  } else {
    const { status, etag, bytes } = get(key);
    response.writeHead(status, { ETag: etag, "Content-Length": bytes.length }).end(method === "HEAD" ? "" : bytes);
  }
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (typeof address === "object" && address !== null) process.stdout.write(`${address.port}\n`);
});

/** Reads a body at the set speed. Returns its bytes if they are few enough to be kept. */
async function takeBody(request) {
  const length = Number(request.headers["content-length"] ?? 0);
  const chunks = length > 0 && length <= keepBytes ? [] : undefined;
  if (bytesPerMs === Infinity) {
    request.on("data", (chunk) => chunks?.push(chunk));
    await once(request, "end");
  } else {
    const began = performance.now();
    let bytes = 0;
    const aheadMs = () => bytes / bytesPerMs - (performance.now() - began);
    for await (const chunk of request) {
      chunks?.push(chunk);
      bytes += chunk.length;
      if (aheadMs() > minPauseMs) await sleep(aheadMs());
    }
    if (aheadMs() > 0) await sleep(aheadMs());
  }
  return chunks === undefined ? undefined : Buffer.concat(chunks);
}

function put(key, bytes, headers) {
  if (bytes === undefined) return { status: 200, etag: '"e"' };
  const present = objects.get(key);
  const isRefused =
    (headers["if-none-match"] !== undefined && present !== undefined) ||
    (headers["if-match"] !== undefined && headers["if-match"] !== present?.etag);
  if (isRefused) return { status: 412, etag: present?.etag ?? '"e"' };
  const etag = `"${++writes}"`;
  objects.set(key, { bytes, etag });
  return { status: 200, etag };
}

function get(key) {
  const object = objects.get(key);
  if (object !== undefined) return { status: 200, ...object };
  return { status: 404, etag: '"none"', bytes: Buffer.from("<Error><Code>NoSuchKey</Code></Error>") };
}
