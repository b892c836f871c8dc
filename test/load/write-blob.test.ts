import { beforeEach, describe, expect, it } from "vitest";
import { StowageError } from "../../src/errors.ts";
import { blobKey } from "../../src/layout/keys.ts";
import { copyToBlob, writeBlob } from "../../src/layout/write-blob.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { chunksOf, randomBytes, sha256 } from "../support/bytes.ts";
import { bytesAt, decorate, keysOf } from "../support/loading.ts";

const bytes = randomBytes(1000);
const blob = { digest: sha256(bytes), size: bytes.length };
const key = blobKey(blob.digest);
const missing = { replaces: undefined };

type Write = (store: ObjectStore, replaces?: string) => Promise<string>;
const ways: readonly (readonly [string, Write])[] = [
  [
    "writeBlob, of bytes in memory",
    async (store, replaces) => writeBlob({ ...blob, body: bytes }, { replaces }, { store }),
  ],
  [
    "writeBlob, of a stream",
    async (store, replaces) => writeBlob({ ...blob, body: chunksOf(bytes, 300) }, { replaces }, { store }),
  ],
  ["copyToBlob", async (store, replaces) => copyToBlob("staging/1", blob, { replaces }, { store })],
];

describe.each(ways)("%s", (_, write) => {
  let store: MemoryStore;
  beforeEach(async () => {
    store = new MemoryStore();
    await store.put("staging/1", bytes);
  });

  it("stores a blob under its digest", async () => {
    expect(await write(store)).toBe("written");
    expect((await bytesAt(store, key)).equals(bytes)).toBe(true);
  });

  it("says that a blob is present which somebody else has stored meanwhile, and leaves it as it is", async () => {
    await store.put(key, bytes);
    const before = await store.head(key);
    expect(await write(store)).toBe("present");
    expect(await store.head(key)).toEqual(before);
  });

  it("replaces a damaged object, unless somebody else has", async () => {
    await store.put(key, randomBytes(1000, 2));
    const damaged = (await store.head(key))?.etag ?? "";
    expect(await write(store, damaged)).toBe("repaired");
    expect((await bytesAt(store, key)).equals(bytes)).toBe(true);
    expect(await write(store, damaged)).toBe("present");
  });

  it("refuses to create a blob where an object of another size lies", async () => {
    await store.put(key, bytes.subarray(1));
    await expect(write(store)).rejects.toMatchObject({
      code: "STORE_DAMAGED",
      message: `Cannot store blob "${blob.digest}" in memory:: an object of 999 bytes lies there, expected 1000`,
      detail: { digest: blob.digest, found: 999, expected: 1000 },
    });
    expect((await bytesAt(store, key)).length).toBe(999);
  });

  it("fails if the object that was in its way is gone, or is the damaged one", async () => {
    const refusing = decorate(store, {
      put: async () => "conflict",
      write: async () => ({ outcome: "conflict", parts: 0 }),
      copy: async () => ({ outcome: "conflict", parts: 0 }),
    });
    await expect(write(refusing)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    await store.put(key, randomBytes(1000, 2));
    const damaged = (await store.head(key))?.etag ?? "";
    await expect(write(refusing, damaged)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });
});

describe("writeBlob", () => {
  it("hands the store the digest of bytes in memory", async () => {
    const digests: (string | undefined)[] = [];
    const store = decorate(new MemoryStore(), {
      put: async (_key, _bytes, options) => {
        digests.push(options?.digest);
        return { etag: "1" };
      },
    });
    await writeBlob({ ...blob, body: bytes }, missing, { store });
    expect(digests).toEqual([blob.digest]);
  });

  it("fails with what went wrong when no answer comes", async () => {
    const unanswered = new StowageError("STORE_UNAVAILABLE", "no answer came");
    const store = decorate(new MemoryStore(), { put: async () => ({ unanswered }) });
    await expect(writeBlob({ ...blob, body: bytes }, missing, { store })).rejects.toBe(unanswered);
    expect(await keysOf(store)).toEqual([]);
  });
});
