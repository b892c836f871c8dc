import { describe, expect, it } from "vitest";
import type { Algorithm } from "../../src/digest.ts";
import type { CopyOptions } from "../../src/storage/object-store.ts";
import { R2Store } from "../../src/storage/r2/r2-store.ts";
import { digestOf, etagOf, listAll, read, source, text } from "../storage/contract-objects.ts";
import { describeStoreContract } from "../storage/contract.ts";
import { randomBytes } from "../support/bytes.ts";
import { type WatchedBucket, watchBucket } from "./watch-bucket.ts";

/** R2's smallest part. */
const partBytes = 5 * 1024 * 1024;
/** Each test has a prefix of its own. */
const newPrefix = (): string => `tests/${crypto.randomUUID()}`;
const binding = "IMAGES";
const absent = { condition: "absent" } as const;

describeStoreContract("R2Store in workerd", () => {
  const watched = watchBucket();
  const { bucket } = watched;
  const prefix = newPrefix();
  return {
    store: new R2Store({ bucket, binding, prefix }),
    reopen: () => new R2Store({ bucket, binding, prefix }),
    leftovers: async () => Array.from({ length: watched.openUploads() }, () => "an open upload"),
    damage: async (key, bytes) => void (await bucket.put(`${prefix}/${key}`, bytes)),
    close: async () => {},
  };
});

describe("R2Store", () => {
  function open(): WatchedBucket & { readonly store: R2Store } {
    const watched = watchBucket();
    return { ...watched, store: new R2Store({ bucket: watched.bucket, binding, prefix: newPrefix() }) };
  }

  async function stage(
    store: R2Store,
    size: number,
    algorithm?: Algorithm,
  ): Promise<{ readonly key: string; readonly bytes: Uint8Array; readonly copy: CopyOptions }> {
    const bytes = randomBytes(size);
    const key = "staging/1";
    await store.write(key, source(bytes));
    return { key, bytes, copy: { size, digest: digestOf(bytes, algorithm), ...absent } };
  }

  it("names itself by binding and prefix", () => {
    const { bucket } = watchBucket();
    expect(new R2Store({ bucket, binding, prefix: "" }).url).toBe("r2:IMAGES");
    expect(new R2Store({ bucket, binding, prefix: "/a/b/" }).url).toBe("r2:IMAGES/a/b");
  });

  it("streams a large object in parts, byte for byte", async () => {
    const { store, calls } = open();
    const bytes = randomBytes(3 * partBytes + 17);
    expect(await store.write("object", source(bytes, 70_001), absent)).toEqual({ outcome: "written", parts: 4 });
    expect(calls("uploadPart")).toBe(4);
    expect(digestOf(await read(await store.get("object")))).toBe(digestOf(bytes));
  });

  it("writes a stream of no more than a part as one object", async () => {
    const { store, calls } = open();
    expect(await store.write("object", source(randomBytes(partBytes)))).toEqual({ outcome: "written", parts: 0 });
    expect(calls("createMultipartUpload")).toBe(0);
  });

  it("leaves no upload when the signal fires while one begins", async () => {
    const { bucket, openUploads } = watchBucket();
    const stopping = new AbortController();
    const createMultipartUpload: typeof bucket.createMultipartUpload = async (...args) => {
      stopping.abort(new Error("stop"));
      return bucket.createMultipartUpload(...args);
    };
    const store = new R2Store({ bucket: { ...bucket, createMultipartUpload }, binding, prefix: newPrefix() });
    const writing = store.write("object", source(randomBytes(2 * partBytes)), { signal: stopping.signal });
    await expect(writing).rejects.toThrow("stop");
    expect(openUploads()).toBe(0);
  });

  it("refuses a stream of another length, and leaves neither object nor upload", async () => {
    const { store, openUploads } = open();
    for (const [found, expected] of [
      [2 * partBytes, 3 * partBytes],
      [3 * partBytes + 1, 3 * partBytes],
      [9, 10],
      [11, 10],
    ] as const) {
      const writing = store.write("object", { ...source(randomBytes(found)), size: expected });
      await expect(writing).rejects.toMatchObject({ code: "SIZE_INVALID" });
    }
    expect(await listAll(store, "")).toEqual([]);
    expect(openUploads()).toBe(0);
  });

  it("gives an upload up when an object is there by the time all parts are, and says so", async () => {
    const { store, openUploads, calls } = open();
    const bytes = randomBytes(partBytes + 1);
    await store.write("object", source(bytes), absent);
    const before = await store.head("object");
    expect((await store.write("object", source(bytes), absent)).outcome).toBe("conflict");
    expect(await store.head("object")).toEqual(before);
    expect([calls("complete"), calls("abort"), openUploads()]).toEqual([1, 1, 0]);
  });

  it.each<Algorithm>(["sha256", "sha512"])("lets R2 verify the %s of bytes in memory", async (algorithm) => {
    const { store } = open();
    const digest = digestOf(text("right"), algorithm);
    const writing = store.put("object", text("wrong"), { ...absent, digest });
    await expect(writing).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", detail: { code: 10_037 } });
    expect(await listAll(store, "")).toEqual([]);
  });

  it("knows its own write when the answer was lost", async () => {
    const { store, loseAnswers } = open();
    loseAnswers("put", 1);
    const created = etagOf(await store.put("index.json", text("one"), absent));
    expect(created).toBe((await store.head("index.json"))?.etag);
    loseAnswers("put", 4); // until it gives up
    const replaced = etagOf(await store.put("index.json", text("two"), { condition: { etag: created } }));
    expect(replaced).toBe((await store.head("index.json"))?.etag);
    loseAnswers("put", 1);
    expect(await store.write("object", source(text("small")), absent)).toEqual({ outcome: "written", parts: 0 });
  });

  it("answers a conflict when the answer was lost and another had written before", async () => {
    const { store, loseAnswers } = open();
    await store.put("index.json", text("one"), absent);
    loseAnswers("put", 1);
    expect(await store.put("index.json", text("two"), absent)).toBe("conflict");
    expect(await read(await store.get("index.json"))).toEqual(text("one"));
  });

  it("leaves open what became of a request that is sent once and gets no answer", async () => {
    const { store, failCalls, calls } = open();
    const etag = etagOf(await store.put("index.json", text("one"), absent));
    const unanswered = { unanswered: { code: "STORE_UNAVAILABLE" } };
    for (const method of ["put", "delete"] as const) failCalls(method, 1, "Network connection lost.");
    const options = { condition: { etag }, once: true };
    expect(await store.put("index.json", text("two"), options)).toMatchObject(unanswered);
    expect(await store.delete("index.json", { once: true })).toMatchObject(unanswered);
    expect([calls("put"), calls("delete")]).toEqual([2, 1]);
    for (const method of ["put", "delete"] as const) failCalls(method, 1, `${method}: Access denied. (10003)`);
    const refused = { code: "STORE_UNAVAILABLE", detail: { code: 10_003 } };
    await expect(store.put("index.json", text("two"), options)).rejects.toMatchObject(refused);
    await expect(store.delete("index.json", { once: true })).rejects.toMatchObject(refused);
  });

  it("knows its own upload when the answer to its completion was lost", async () => {
    const { store, loseAnswers, openUploads } = open();
    loseAnswers("complete", 1);
    const bytes = randomBytes(partBytes + 1);
    expect(await store.write("object", source(bytes), absent)).toEqual({ outcome: "written", parts: 2 });
    expect(openUploads()).toBe(0);
  });

  it.each(["put", "get", "head", "list", "delete"] as const)("tries %s again where that may help", async (method) => {
    const { store, failCalls, calls } = open();
    failCalls(method, 2, `${method}: We encountered an internal error. Please try again. (10001)`);
    await store.put("object", text("1"), absent);
    await store.head("object");
    await read(await store.get("object"));
    await listAll(store, "");
    await store.delete("object");
    expect(calls(method)).toBe(3);
  });

  it("names store, operation, key and reason when R2 refuses, and does not ask again", async () => {
    const { store, failCalls, calls } = open();
    failCalls("get", 9, "get: The specified bucket does not exist. (10006)");
    await expect(store.get("index.json")).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: `get of "index.json" failed at ${store.url}: get: The specified bucket does not exist. (10006)`,
      detail: { store: store.url, operation: "get", key: "index.json", code: 10_006 },
    });
    expect(calls("get")).toBe(1);
  });

  it.each(["createMultipartUpload", "uploadPart", "complete"] as const)(
    "leaves no upload behind when %s fails",
    async (method) => {
      const { store, failCalls, openUploads } = open();
      failCalls(method, 9, `${method}: Access denied. (10003)`);
      const storing = store.write("object", source(randomBytes(4 * partBytes)), absent);
      await expect(storing).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", detail: { code: 10_003 } });
      expect(openUploads()).toBe(0);
      expect(await listAll(store, "")).toEqual([]);
    },
  );

  it("copies an object of several parts in parts", async () => {
    const { store, calls } = open();
    const { key, bytes, copy } = await stage(store, 2 * partBytes + 17);
    expect(calls("uploadPart")).toBe(3);
    expect(await store.copy(key, "copy", copy)).toEqual({ outcome: "written", parts: 3 });
    expect([calls("uploadPart"), calls("get")]).toEqual([6, 1]);
    expect(digestOf(await read(await store.get("copy")))).toBe(digestOf(bytes));
  });

  it("knows its own object, written without a condition, when the answer to its completion was lost", async () => {
    const { store, loseAnswers, openUploads } = open();
    loseAnswers("complete", 1);
    const { key, bytes } = await stage(store, partBytes + 1);
    expect(digestOf(await read(await store.get(key)))).toBe(digestOf(bytes));
    expect(openUploads()).toBe(0);
  });

  it.each<[number, Algorithm]>([
    [1000, "sha256"],
    [partBytes + 1, "sha256"],
    [1000, "sha512"],
    [partBytes + 1, "sha512"],
  ])("makes no copy of an object of %i bytes with a %s that has changed", async (size, algorithm) => {
    const { store, bucket, openUploads } = open();
    const { key, copy } = await stage(store, size, algorithm);
    const [, prefix] = store.url.split("r2:IMAGES/");
    await bucket.put(`${prefix}/${key}`, randomBytes(size, 2));
    await expect(store.copy(key, "copy", copy)).rejects.toMatchObject({ code: "STORE_DAMAGED", detail: { key } });
    expect(await store.head("copy")).toBeUndefined();
    expect(openUploads()).toBe(0);
  });

  it("leaves no upload, and no connection, when a copy cannot be written", async () => {
    const { bucket, failCalls, openUploads } = watchBucket();
    let cancelled = 0;
    const get: typeof bucket.get = async (key) => {
      const object = await bucket.head(key);
      const body = new ReadableStream({ type: "bytes", cancel: () => void cancelled++ });
      return object && { key: object.key, size: object.size, etag: object.etag, body };
    };
    const store = new R2Store({ bucket: { ...bucket, get }, binding, prefix: newPrefix() });
    const { key, copy } = await stage(store, 2 * partBytes);
    failCalls("createMultipartUpload", 9, "createMultipartUpload: Access denied. (10003)");
    await expect(store.copy(key, "copy", copy)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect([openUploads(), cancelled]).toEqual([0, 1]);
  });

  it("holds no more parts of a stream, or of a copy, than it says", async () => {
    const { store, mostPartBytes } = open();
    const { key, copy } = await stage(store, 10 * partBytes);
    expect(mostPartBytes()).toBe(store.writeBufferBytes(copy.size));
    await store.copy(key, "copy", copy);
    expect(mostPartBytes()).toBe(store.copyBufferBytes(copy.size));
  });
});
