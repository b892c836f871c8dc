import { describe, expect, it } from "vitest";
import { blobKey } from "../../src/storage/keys.ts";
import type { BlobIdentity, BlobSource } from "../../src/storage/object-store.ts";
import { R2Store } from "../../src/storage/r2/r2-store.ts";
import { digestOf, inChunks, listAll, read, streamed, text, whole } from "../storage/contract-objects.ts";
import { describeStoreContract } from "../storage/contract.ts";
import { randomBytes } from "../support/bytes.ts";
import { type WatchedBucket, watchBucket } from "./watch-bucket.ts";

/** R2's smallest part. */
const partBytes = 5 * 1024 * 1024;
/** Each test has a prefix of its own. */
const newPrefix = (): string => `tests/${crypto.randomUUID()}`;
const binding = "IMAGES";

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
  ): Promise<{ readonly key: string; readonly bytes: Uint8Array; readonly blob: BlobIdentity }> {
    const bytes = randomBytes(size);
    const key = "staging/1";
    await store.putStaged({ key, size, body: inChunks(bytes, 500_000) });
    return { key, bytes, blob: { digest: digestOf(bytes), size } };
  }

  it("names itself by binding and prefix", () => {
    const { bucket } = watchBucket();
    expect(new R2Store({ bucket, binding, prefix: "" }).url).toBe("r2:IMAGES");
    expect(new R2Store({ bucket, binding, prefix: "/a/b/" }).url).toBe("r2:IMAGES/a/b");
  });

  it("streams a large blob in parts, byte for byte", async () => {
    const { store, calls } = open();
    const bytes = randomBytes(3 * partBytes + 17);
    expect(await store.putBlob(streamed(bytes, 70_001))).toEqual({ outcome: "written", parts: 4 });
    expect(calls("uploadPart")).toBe(4);
    expect(digestOf(await read(await store.get(blobKey(digestOf(bytes)))))).toBe(digestOf(bytes));
  });

  it("writes a stream of no more than a part as one object", async () => {
    const { store, calls } = open();
    expect(await store.putBlob(streamed(randomBytes(partBytes), 100_000))).toEqual({ outcome: "written", parts: 0 });
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
    const blob = streamed(randomBytes(2 * partBytes), 100_000);
    await expect(store.putBlob(blob, { signal: stopping.signal })).rejects.toThrow("stop");
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
      const blob: BlobSource = { ...streamed(randomBytes(found), 1_000_000), size: expected };
      await expect(store.putBlob(blob)).rejects.toMatchObject({ code: "SIZE_INVALID" });
    }
    expect(await listAll(store, "")).toEqual([]);
    expect(openUploads()).toBe(0);
  });

  it("gives an upload up when the blob is there by the time all parts are, and says so", async () => {
    const { store, openUploads, calls } = open();
    const bytes = randomBytes(partBytes + 1);
    await store.putBlob(streamed(bytes, 500_000));
    const before = await store.head(blobKey(digestOf(bytes)));
    expect((await store.putBlob(streamed(bytes, 500_000))).outcome).toBe("present");
    expect(await store.head(blobKey(digestOf(bytes)))).toEqual(before);
    expect([calls("complete"), calls("abort"), openUploads()]).toEqual([1, 1, 0]);
  });

  it.each(["whole", "streamed"])("refuses to create a blob where an object of another size lies (%s)", async (kind) => {
    const { store, openUploads } = open();
    const bytes = randomBytes(kind === "whole" ? 1000 : partBytes + 1);
    await store.putIf(blobKey(digestOf(bytes)), text("damaged"), "absent");
    const blob = kind === "whole" ? whole(bytes) : streamed(bytes, 500_000);
    await expect(store.putBlob(blob)).rejects.toMatchObject({
      code: "STORE_DAMAGED",
      detail: { found: 7, expected: bytes.length },
    });
    expect(openUploads()).toBe(0);
  });

  it("lets R2 verify the digest of a blob that is in memory", async () => {
    const { store } = open();
    const blob = { ...whole(text("right")), body: text("wrong") };
    await expect(store.putBlob(blob)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", detail: { code: 10_037 } });
    expect(await listAll(store, "")).toEqual([]);
  });

  it("knows its own write when the answer was lost", async () => {
    const { store, loseAnswers } = open();
    loseAnswers("put", 1);
    const created = await store.putIf("index.json", text("one"), "absent");
    expect(created).toEqual({ etag: (await store.head("index.json"))?.etag });
    loseAnswers("put", 4); // until it gives up
    const replaced = await store.putIf("index.json", text("two"), created === "conflict" ? "absent" : created);
    expect(replaced).toEqual({ etag: (await store.head("index.json"))?.etag });
    loseAnswers("put", 1);
    expect(await store.putBlob(whole(text("a blob")))).toEqual({ outcome: "written", parts: 0 });
  });

  it("answers a conflict when the answer was lost and another had written before", async () => {
    const { store, loseAnswers } = open();
    await store.putIf("index.json", text("one"), "absent");
    loseAnswers("put", 1);
    expect(await store.putIf("index.json", text("two"), "absent")).toBe("conflict");
    expect(await read(await store.get("index.json"))).toEqual(text("one"));
  });

  it("knows its own upload when the answer to its completion was lost", async () => {
    const { store, loseAnswers, openUploads } = open();
    loseAnswers("complete", 1);
    const bytes = randomBytes(partBytes + 1);
    expect(await store.putBlob(streamed(bytes, 500_000))).toEqual({ outcome: "written", parts: 2 });
    expect(openUploads()).toBe(0);
  });

  it.each(["put", "get", "head", "list", "delete"] as const)("tries %s again where that may help", async (method) => {
    const { store, failCalls, calls } = open();
    failCalls(method, 2, `${method}: We encountered an internal error. Please try again. (10001)`);
    await store.putIf("object", text("1"), "absent");
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
      const storing = store.putBlob(streamed(randomBytes(4 * partBytes), 500_000));
      await expect(storing).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", detail: { code: 10_003 } });
      expect(openUploads()).toBe(0);
      expect(await listAll(store, "")).toEqual([]);
    },
  );

  it("writes a staged object in parts where it has several, and makes a blob of it the same way", async () => {
    const { store, calls } = open();
    const { key, bytes, blob } = await stage(store, 2 * partBytes + 17);
    expect(calls("uploadPart")).toBe(3);
    expect(await store.promote(key, blob)).toEqual({ outcome: "written", parts: 3 });
    expect([calls("uploadPart"), calls("get")]).toEqual([6, 1]);
    expect(digestOf(await read(await store.get(blobKey(blob.digest))))).toBe(digestOf(bytes));
  });

  it("knows its own staged object when the answer to its completion was lost", async () => {
    const { store, loseAnswers, openUploads } = open();
    loseAnswers("complete", 1);
    const { key, bytes } = await stage(store, partBytes + 1);
    expect(digestOf(await read(await store.get(key)))).toBe(digestOf(bytes));
    expect(openUploads()).toBe(0);
  });

  it.each([1000, partBytes, 2 * partBytes])("stages nothing of another length than %i bytes", async (size) => {
    const { store, openUploads } = open();
    for (const found of [size - 1, size + 1]) {
      const staging = store.putStaged({ key: "staging/1", size, body: inChunks(randomBytes(found), 500_000) });
      await expect(staging).rejects.toMatchObject({ code: "SIZE_INVALID" });
    }
    expect(await listAll(store, "")).toEqual([]);
    expect(openUploads()).toBe(0);
  });

  it.each([1000, partBytes + 1])("makes no blob of a staged object of %i bytes that has changed", async (size) => {
    const { store, bucket, openUploads } = open();
    const { key, blob } = await stage(store, size);
    const [, prefix] = store.url.split("r2:IMAGES/");
    await bucket.put(`${prefix}/${key}`, randomBytes(size, 2));
    await expect(store.promote(key, blob)).rejects.toMatchObject({ code: "STORE_DAMAGED", detail: { key } });
    expect(await store.head(blobKey(blob.digest))).toBeUndefined();
    expect(openUploads()).toBe(0);
  });

  it("leaves no upload, and no connection, when what is staged cannot be written", async () => {
    const { bucket, failCalls, openUploads } = watchBucket();
    let cancelled = 0;
    const get: typeof bucket.get = async (key) => {
      const object = await bucket.head(key);
      const body = new ReadableStream({ type: "bytes", cancel: () => void cancelled++ });
      return object && { key: object.key, size: object.size, etag: object.etag, body };
    };
    const store = new R2Store({ bucket: { ...bucket, get }, binding, prefix: newPrefix() });
    const { key, blob } = await stage(store, 2 * partBytes);
    failCalls("createMultipartUpload", 9, "createMultipartUpload: Access denied. (10003)");
    await expect(store.promote(key, blob)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect([openUploads(), cancelled]).toEqual([0, 1]);
  });

  it("holds no more parts of a staged object than it says", async () => {
    const { store, mostPartBytes } = open();
    const { key, blob } = await stage(store, 10 * partBytes);
    expect(mostPartBytes()).toBe(store.streamBufferBytes(blob.size));
    await store.promote(key, blob);
    expect(mostPartBytes()).toBe(store.promoteBufferBytes(blob.size));
  });

  it("holds no more parts of a stream than it says", async () => {
    const { store, mostPartBytes } = open();
    const size = 10 * partBytes;
    await store.putBlob(streamed(randomBytes(size), 500_000));
    expect(mostPartBytes()).toBe(store.streamBufferBytes(size));
  });
});
