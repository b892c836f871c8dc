import { describe, expect, it } from "vitest";
import { byteStreamToBytes } from "../../src/streams/readable-stream.ts";
import { randomBytes, readAll } from "../support/bytes.ts";

const mebibyte = 1024 * 1024;

/** A byte stream of workerd's own, which gives its bytes as they are written. */
function pipeOf(chunks: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  const { readable, writable } = new IdentityTransformStream();
  const writer = writable.getWriter();
  void (async () => {
    for (const chunk of chunks) await writer.write(chunk);
    await writer.close();
  })().catch(() => undefined); // whoever reads may leave
  return readable;
}

declare const IdentityTransformStream: new () => TransformStream<Uint8Array, Uint8Array>;

describe("byteStreamToBytes", () => {
  it.each([0, 1, 4096, 600_000, mebibyte, 3 * mebibyte + 1])("gives all of %i bytes", async (length) => {
    const bytes = randomBytes(length);
    const { body } = new Response(new Uint8Array(bytes));
    expect((await readAll(byteStreamToBytes(body))).equals(bytes)).toBe(true);
  });

  it("gives nothing of no body", async () => {
    expect(await readAll(byteStreamToBytes(null))).toHaveLength(0);
  });

  it("gives large chunks of a large body", async () => {
    const { body } = new Response(new Uint8Array(8 * mebibyte));
    let chunks = 0;
    for await (const _ of byteStreamToBytes(body)) chunks++;
    expect(chunks).toBeLessThanOrEqual(128);
  });

  it("never uses the memory of a chunk again, nor lets a few bytes hold on to much of it", async () => {
    const written = Array.from({ length: 40 }, (_, i) => new Uint8Array(i % 2 === 0 ? 1000 : 700_000).fill(i));
    const chunks: Uint8Array[] = [];
    for await (const chunk of byteStreamToBytes(pipeOf(written))) {
      expect(chunk.buffer.byteLength).toBeLessThanOrEqual(2 * chunk.length);
      chunks.push(chunk);
    }
    expect(new Set(chunks.map(({ buffer }) => buffer)).size).toBe(chunks.length);
    expect(Buffer.concat(chunks).equals(Buffer.concat(written))).toBe(true);
  });

  it("cancels the body when it is left, also before its first byte", async () => {
    for (const readFirst of [true, false]) {
      const { readable, writable } = new IdentityTransformStream();
      const chunks = byteStreamToBytes(readable);
      const writing = writable.getWriter().write(new Uint8Array(10));
      writing.catch(() => undefined);
      if (readFirst) await chunks.next();
      await chunks.return();
      expect(await chunks.next()).toEqual({ done: true, value: undefined });
      if (!readFirst) await expect(writing).rejects.toThrow();
    }
  });
});
