/** The part of the contract of `ObjectStore` that is about copies. */
import { describe, expect, it } from "vitest";
import type { Algorithm } from "../../src/digest.ts";
import type { CopyOptions, ObjectStore } from "../../src/storage/object-store.ts";
import {
  at,
  digestOf,
  expectSame,
  inParallel,
  keyOf,
  listKeys,
  randomBytes,
  read,
  source,
  text,
} from "./contract-objects.ts";
import type { StoreUnderTest } from "./contract.ts";

/** What a test of the contract is given. */
export interface TriedStore {
  readonly store: ObjectStore;
  readonly opened: StoreUnderTest;
  /** What must hold after the only object could not be stored. */
  readonly expectNothingStored: (key: string) => Promise<void>;
  /** Writes wrong bytes under a key and returns their ETag. */
  readonly damage: (key: string, bytes: Uint8Array) => Promise<string>;
}

const stagedKey = "staging/a layer+1";

/** `tried` gives the store of the test that runs. */
export function describeCopy(tried: () => TriedStore): void {
  describe("copy", () => {
    it.each<[string, (store: ObjectStore) => number, Algorithm]>([
      ["a few bytes", () => 1_000, "sha256"],
      ["several parts", ({ partBytes }) => 3 * partBytes + 7, "sha256"],
      ["a few bytes", () => 1_000, "sha512"],
      ["several parts", ({ partBytes }) => 3 * partBytes + 7, "sha512"],
    ])("copies an object of %s", async (_, sizeIn, algorithm) => {
      const { store, opened } = tried();
      const bytes = randomBytes(sizeIn(store));
      const key = keyOf(bytes, algorithm);
      await store.write(stagedKey, source(bytes));
      expect((await store.copy(stagedKey, key, creating(bytes, algorithm))).outcome).toBe("written");
      await store.delete(stagedKey);
      expect(await listKeys(store, "")).toEqual([key]);
      expect((await store.head(key))?.size).toBe(bytes.length);
      expectSame(await read(await store.get(key)), bytes);
      expect(await opened.leftovers()).toEqual([]);
    });

    it("leaves an object as it is that should have been absent", async () => {
      const { store } = tried();
      const bytes = randomBytes(1_000);
      await store.put(keyOf(bytes), bytes);
      const before = await store.head(keyOf(bytes));
      await store.write(stagedKey, source(bytes));
      expect(await store.copy(stagedKey, keyOf(bytes), creating(bytes))).toEqual({ outcome: "conflict", parts: 0 });
      expect(await store.head(keyOf(bytes))).toEqual(before);
    });

    it.each(["blobs/sha256/0123", "index.json"])("replaces an object by its ETag, and no other: %s", async (key) => {
      const { store, damage } = tried();
      const bytes = randomBytes(1_000);
      const condition = { etag: await damage(key, text("damaged")) };
      await store.write(stagedKey, source(bytes));
      expect((await store.copy(stagedKey, key, { size: bytes.length, condition })).outcome).toBe("written");
      expectSame(await read(await store.get(key)), bytes);
      await store.write(stagedKey, source(bytes));
      expect((await store.copy(stagedKey, key, { size: bytes.length, condition })).outcome).toBe("conflict");
      expectSame(await read(await store.get(key)), bytes);
    });

    it("copies without a condition, whatever is there", async () => {
      const { store } = tried();
      const bytes = randomBytes(1_000);
      await store.put("object", text("before"));
      await store.write(stagedKey, source(bytes));
      expect((await store.copy(stagedKey, "object", { size: bytes.length })).outcome).toBe("written");
      expectSame(await read(await store.get("object")), bytes);
    });

    it("lets many make the same object at once", async () => {
      const { store, opened } = tried();
      const bytes = randomBytes(store.partBytes + 1);
      const keys = ["staging/1", "staging/2", "staging/3"];
      const handles = [store, await opened.reopen()];
      await inParallel(keys, (key) => store.write(key, source(bytes)));
      const copies = keys.map(async (key, i) => at(handles, i % 2).copy(key, keyOf(bytes), creating(bytes)));
      const results = await Promise.all(copies);
      expect(results.map(({ outcome }) => outcome)).toContain("written");
      expectSame(await read(await store.get(keyOf(bytes))), bytes);
    });

    it("rejects if the source is not there, and makes no object", async () => {
      const { store, expectNothingStored } = tried();
      const bytes = randomBytes(1_000);
      const copy = store.copy(stagedKey, keyOf(bytes), creating(bytes));
      await expect(copy).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
      await expectNothingStored(keyOf(bytes));
    });

    it("makes no object when the signal has fired before", async () => {
      const { store } = tried();
      const bytes = randomBytes(1_000);
      await store.write(stagedKey, source(bytes));
      const reason = new Error("too late");
      const options = { ...creating(bytes), signal: AbortSignal.abort(reason) };
      await expect(store.copy(stagedKey, keyOf(bytes), options)).rejects.toBe(reason);
      expect(await store.head(keyOf(bytes))).toBeUndefined();
    });
  });
}

/** The options of a copy of these bytes to where nothing is. */
export function creating(bytes: Uint8Array, algorithm?: Algorithm): CopyOptions {
  return { size: bytes.length, digest: digestOf(bytes, algorithm), condition: "absent" };
}
