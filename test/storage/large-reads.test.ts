/** Bodies that S3 sends faster than 64 KiB a read. All connections read into the same memory. */
import { once } from "node:events";
import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type GetOptions, usualChunkBytes } from "../../src/storage/object-store.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { S3Store } from "../../src/storage/s3/s3-store.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";

const largeBytes = 512 * 1024;
const bodies = Array.from({ length: 6 }, (_, i) => randomBytes(6 * 1024 * 1024, i + 1));

let server: Server;
let store: S3Store;
beforeAll(async () => {
  server = createServer((request, response) => {
    const body = bodies[Number(/\d$/.exec(request.url?.split("?")[0] ?? "")?.[0])];
    response.writeHead(200, { ETag: '"e"', "Content-Length": body?.length ?? 0 }).end(body);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const env = {
    AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    AWS_ACCESS_KEY_ID: "key",
    AWS_SECRET_ACCESS_KEY: "secret",
  };
  store = new S3Store({ client: createS3Client(env), bucket: "bucket" });
});
afterAll(() => void server.close());

/** Reads one of the bodies, slowly, so that more bytes wait than one read takes. */
async function read(
  i: number,
  options: GetOptions,
): Promise<{ readonly digest: string; readonly largest: number; readonly later: number }> {
  const object = await store.get(String(i), options);
  const chunks: Uint8Array[] = [];
  for await (const chunk of object?.body ?? []) {
    chunks.push(chunk);
    await sleep(1);
  }
  const largestOf = (some: readonly Uint8Array[]): number => Math.max(...some.map(({ length }) => length));
  return { digest: sha256(Buffer.concat(chunks)), largest: largestOf(chunks), later: largestOf(chunks.slice(1)) };
}

describe("S3Store.get", () => {
  it("reads larger chunks for a reader with room for them, and mixes up no bytes of several bodies", async () => {
    const read6 = await Promise.all(bodies.map(async (_, i) => read(i, { chunkBytes: () => largeBytes })));
    expect(read6.map(({ digest }) => digest)).toEqual(bodies.map(sha256));
    expect(Math.max(...read6.map(({ largest }) => largest))).toBeGreaterThan(usualChunkBytes);
    expect(Math.max(...read6.map(({ largest }) => largest))).toBeLessThanOrEqual(2 * largeBytes);
  });

  it("reads usual chunks again for the next reader of the same connection, after one read", async () => {
    await read(0, { chunkBytes: () => largeBytes });
    const { digest, later } = await read(1, {});
    expect(digest).toBe(sha256(bodies[1] ?? Buffer.alloc(0)));
    expect(later).toBeLessThanOrEqual(2 * usualChunkBytes); // two reads may have come before the reader
  });

  it("reads smaller chunks as soon as the reader has less room", async () => {
    let room = largeBytes;
    const object = await store.get("2", { chunkBytes: () => room });
    const later: number[] = [];
    let bytes = 0;
    for await (const chunk of object?.body ?? []) {
      bytes += chunk.length;
      if (bytes > 4 * 1024 * 1024) later.push(chunk.length);
      else if (bytes > 2 * 1024 * 1024) room = usualChunkBytes;
      await sleep(1);
    }
    expect(bytes).toBe(6 * 1024 * 1024);
    expect(Math.max(...later)).toBeLessThanOrEqual(2 * usualChunkBytes);
  });
});
