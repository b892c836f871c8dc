/** What the contract of `ObjectStore` puts into a store, and how it looks at what is there. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { expect } from "vitest";
import type { Algorithm, Digest } from "../../src/digest.ts";
import {
  type ByteSource,
  type ObjectInfo,
  type ObjectStore,
  type PutResult,
  type WriteOptions,
  type WriteResult,
  answered,
} from "../../src/storage/object-store.ts";

/** Different each time. workerd gives out 64 KiB of randomness at once. */
export function randomBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let start = 0; start < length; start += 65_536) crypto.getRandomValues(bytes.subarray(start, start + 65_536));
  return bytes;
}

export function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

export function digestOf(bytes: Uint8Array, algorithm: Algorithm = "sha256"): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}`;
}

/** The key of a blob with these bytes: what lies there is the same for all who write it. */
export function keyOf(bytes: Uint8Array, algorithm?: Algorithm): string {
  return `blobs/${digestOf(bytes, algorithm).replace(":", "/")}`;
}

/** Bytes that come in chunks. */
export function source(bytes: Uint8Array, chunkBytes = 500_000): ByteSource {
  return { size: bytes.length, body: inChunks(bytes, chunkBytes) };
}

/** How bytes can be sent: from memory, or as a stream. */
export const ways = ["put", "write"] as const;

/** Sends bytes the one way or the other, and expects an answer. */
export async function send(
  way: (typeof ways)[number],
  store: ObjectStore,
  key: string,
  bytes: Uint8Array,
  options: WriteOptions = {},
): Promise<WriteResult["outcome"]> {
  if (way === "write") return (await store.write(key, source(bytes), options)).outcome;
  const digest = digestOf(bytes);
  return answered(await store.put(key, bytes, { ...options, digest })) === "conflict" ? "conflict" : "written";
}

/** Reads a body to its end. Fails if the object is not there. */
export async function read(object: { readonly body: AsyncIterable<Uint8Array> } | undefined): Promise<Uint8Array> {
  if (object === undefined) throw new Error("Cannot read an object: it is not there");
  const chunks: Uint8Array[] = [];
  for await (const chunk of object.body) chunks.push(chunk);
  return plain(Buffer.concat(chunks));
}

/** Raises the decimal number under `key` by 1, `times` times, by compare and swap. */
export async function increment(store: ObjectStore, key: string, times: number): Promise<void> {
  for (let done = 0; done < times;) {
    const object = await store.get(key);
    if (object === undefined) throw new Error(`Cannot increment "${key}": it is not there`);
    const value = Number(new TextDecoder().decode(await read(object)));
    const condition = { etag: object.etag };
    if (answered(await store.put(key, text(String(value + 1)), { condition })) !== "conflict") done++;
  }
}

export async function listAll(store: ObjectStore, prefix: string, signal?: AbortSignal): Promise<ObjectInfo[]> {
  const infos: ObjectInfo[] = [];
  for await (const info of store.list(prefix, { signal }))
    infos.push({ key: info.key, size: info.size, etag: info.etag });
  return infos;
}

/** Sorted, since each store has an order of its own. */
export async function listKeys(store: ObjectStore, prefix: string): Promise<string[]> {
  return (await listAll(store, prefix)).map(({ key }) => key).toSorted();
}

export async function* inChunks(bytes: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += chunkBytes) {
    await Promise.resolve();
    yield bytes.subarray(start, start + chunkBytes);
  }
}

/** Gives these bytes, then throws. */
export async function* failing(bytes: Uint8Array, error: Error): AsyncGenerator<Uint8Array> {
  yield* inChunks(bytes, 500_000);
  throw error;
}

/** Gives these bytes, then nothing more and no end; `reached` resolves once it stalls. */
export function stalling(bytes: Uint8Array): {
  readonly body: AsyncIterable<Uint8Array>;
  readonly reached: Promise<void>;
} {
  const events = new EventEmitter();
  async function* body(): AsyncGenerator<Uint8Array> {
    yield* inChunks(bytes, 500_000);
    events.emit("stalled");
    await once(events, "never");
  }
  return { body: body(), reached: once(events, "stalled").then(() => {}) };
}

/** Runs `work` for all items, some at a time. */
export async function inParallel<Item>(items: readonly Item[], work: (item: Item) => Promise<unknown>): Promise<void> {
  const queue = items.values();
  const worker = async () => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: 32 }, worker));
}

export function etagOf(result: PutResult): string {
  const answer = answered(result);
  if (answer === "conflict") throw new Error("Cannot write an object: found a conflict, expected none");
  return answer.etag;
}

export function pick(info: ObjectInfo | undefined): ObjectInfo | undefined {
  return info && { key: info.key, size: info.size, etag: info.etag };
}

/** Compares large byte arrays without printing them. */
export function expectSame(actual: Uint8Array, expected: Uint8Array): void {
  expect(actual.length).toBe(expected.length);
  expect(digestOf(actual)).toBe(digestOf(expected));
}

/** A plain Uint8Array, as `toEqual` tells it from a Buffer. */
export function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

export function at<Item>(items: readonly Item[], index: number): Item {
  const item = items[index];
  if (item === undefined) throw new Error(`Cannot take item ${index} of ${items.length}`);
  return item;
}
