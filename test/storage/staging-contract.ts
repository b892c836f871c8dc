/**
 * The part of the contract of `ObjectStore` that is about staging: objects whose digest is known only once they are there.
 */
import { describe, expect, it } from "vitest";
import { blobKey } from "../../src/storage/keys.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import {
  at,
  digestOf,
  expectSame,
  failing,
  inChunks,
  inParallel,
  listKeys,
  randomBytes,
  read,
  staged,
  stagedKey,
  stalling,
  text,
  whole,
} from "./contract-objects.ts";
import type { StoreUnderTest } from "./contract.ts";

/** What a test of the contract is given. */
export interface TriedStore {
  readonly store: ObjectStore;
  readonly opened: StoreUnderTest;
  /** What must hold after a blob could not be stored. */
  readonly expectNothingStored: (digest: string) => Promise<void>;
  /** Puts wrong bytes under a blob's key. */
  readonly damage: (key: string, bytes: Uint8Array) => Promise<void>;
}

/** `tried` gives the store of the test that runs. */
export function describeStaging(tried: () => TriedStore): void {
  describe("putStaged", () => {
    it.each([
      ["nothing", () => 0],
      ["a few bytes", () => 1_000],
      ["more than two parts", ({ partBytes }: ObjectStore) => 2 * partBytes + 7],
    ])("streams %s to a key of the caller's", async (_, size) => {
      const { store, opened } = tried();
      const bytes = randomBytes(size(store));
      await store.putStaged(staged(bytes));
      expect((await store.head(stagedKey))?.size).toBe(bytes.length);
      expectSame(await read(await store.get(stagedKey)), bytes);
      expect(await listKeys(store, "staging/")).toEqual([stagedKey]);
      expect(await opened.leftovers()).toEqual([]);
    });

    it.each([
      ["throws at its beginning", 0],
      ["throws in a later part", 1.5],
    ])("leaves nothing when the body %s, and rejects with its error", async (_, parts) => {
      const { store, expectNothingStored } = tried();
      const bytes = randomBytes(2 * store.partBytes);
      const error = new Error("the body failed");
      const body = failing(bytes.subarray(0, Math.floor(parts * store.partBytes)), error);
      await expect(store.putStaged({ ...staged(bytes), body })).rejects.toBe(error);
      await expectNothingStored(digestOf(bytes));
    });

    it("leaves nothing when the body ends early", async () => {
      const { store, expectNothingStored } = tried();
      const bytes = randomBytes(2 * store.partBytes);
      const body = inChunks(bytes.subarray(0, -1), 500_000);
      await expect(store.putStaged({ ...staged(bytes), body })).rejects.toMatchObject({ code: "SIZE_INVALID" });
      await expectNothingStored(digestOf(bytes));
    });

    it("ends at once when the signal fires while the body stalls, and leaves nothing", async () => {
      const { store, expectNothingStored } = tried();
      const bytes = randomBytes(2 * store.partBytes);
      const controller = new AbortController();
      const stalled = stalling(bytes.subarray(0, Math.floor(1.5 * store.partBytes)));
      const staging = store.putStaged({ ...staged(bytes), body: stalled.body }, { signal: controller.signal });
      const outcome = expect(staging).rejects.toThrow("stop staging");
      await stalled.reached;
      controller.abort(new Error("stop staging"));
      await outcome;
      await expectNothingStored(digestOf(bytes));
    });
  });

  describe("promote", () => {
    it.each([
      ["of a few bytes", () => 1_000],
      ["of several parts", ({ partBytes }: ObjectStore) => 3 * partBytes + 7],
    ])("makes a staged object %s a blob", async (_, size) => {
      const { store, opened } = tried();
      const bytes = randomBytes(size(store));
      const blob = whole(bytes);
      await store.putStaged(staged(bytes));
      expect((await store.promote(stagedKey, blob)).outcome).toBe("written");
      await store.delete(stagedKey);
      expect(await listKeys(store, "")).toEqual([blobKey(blob.digest)]);
      expect((await store.head(blobKey(blob.digest)))?.size).toBe(bytes.length);
      expectSame(await read(await store.get(blobKey(blob.digest))), bytes);
      expect(await opened.leftovers()).toEqual([]);
    });

    it("says so when the blob is present, and leaves it as it is", async () => {
      const { store } = tried();
      const blob = whole(randomBytes(1_000));
      await store.putBlob(blob);
      const before = await store.head(blobKey(blob.digest));
      await store.putStaged(staged(blob.body));
      expect(await store.promote(stagedKey, blob)).toEqual({ outcome: "present", parts: 0 });
      expect(await store.head(blobKey(blob.digest))).toEqual(before);
    });

    it("replaces a damaged object by its ETag", async () => {
      const { store, damage } = tried();
      const blob = whole(randomBytes(1_000));
      const key = blobKey(blob.digest);
      await damage(key, text("damaged"));
      await store.putStaged(staged(blob.body));
      const replaces = (await store.head(key))?.etag;
      expect((await store.promote(stagedKey, blob, { replaces })).outcome).toBe("written");
      expectSame(await read(await store.get(key)), blob.body);
    });

    it("lets many make the same blob at once", async () => {
      const { store, opened } = tried();
      const blob = whole(randomBytes(store.partBytes + 1));
      const keys = ["staging/1", "staging/2", "staging/3"];
      const handles = [store, await opened.reopen()];
      await inParallel(keys, (key) => store.putStaged({ ...staged(blob.body), key }));
      const results = await Promise.all(keys.map((key, i) => at(handles, i % 2).promote(key, blob)));
      expect(results.map(({ outcome }) => outcome)).toContain("written");
      expectSame(await read(await store.get(blobKey(blob.digest))), blob.body);
    });

    it("rejects where nothing is staged, and makes no blob", async () => {
      const { store, expectNothingStored } = tried();
      const blob = whole(randomBytes(1_000));
      await expect(store.promote(stagedKey, blob)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
      await expectNothingStored(blob.digest);
    });

    it("makes no blob when the signal has fired before", async () => {
      const { store } = tried();
      const blob = whole(randomBytes(1_000));
      await store.putStaged(staged(blob.body));
      const reason = new Error("too late");
      await expect(store.promote(stagedKey, blob, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      expect(await store.head(blobKey(blob.digest))).toBeUndefined();
    });
  });
}
