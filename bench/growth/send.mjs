// Sends a stream as the body of a load, without keeping any of it.
import { once } from "node:events";
import { request as startRequest } from "node:http";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";

/** Returns the receipt, and how many times the service had no room. Then the tarball is made and sent again. */
export async function send(url, makeTarball) {
  for (let refused = 0; ; refused++) {
    const { statusCode, retrySeconds, body } = await sendOnce(url, makeTarball());
    if (statusCode < 300) return { receipt: JSON.parse(body), refused };
    if (statusCode !== 429) throw new Error(`PUT ${url}: ${statusCode} ${body.slice(0, 1000)}`);
    await sleep(retrySeconds * 1000);
  }
}

async function sendOnce(url, stream) {
  const request = startRequest(url, { method: "PUT", agent: false });
  request.on("error", () => undefined); // `once` throws it, or an answer is there already
  const sent = pipeline(stream, request).catch(() => undefined);
  const [response] = await once(request, "response");
  const body = await text(response);
  if (response.statusCode >= 300) request.destroy(); // it has not read the rest
  await sent;
  return { statusCode: response.statusCode, retrySeconds: Number(response.headers["retry-after"] ?? 1), body };
}
