/** The part of the contract of `ObjectStore` that is about copies from another store. */
import { describe, expect, it } from "vitest";
import { CountingStore } from "../../src/storage/counting-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { type TriedStore, creating } from "./copy-contract.ts";
import { digestOf, expectSame, keyOf, listKeys, randomBytes, read, source, text } from "./contract-objects.ts";

/** For a store that never copies from another one. */
export function describeNoCopyFrom(tried: () => TriedStore): void {
  it("says that it cannot copy from other stores, and that none can copy from it", () => {
    const { store } = tried();
    expect(store).not.toHaveProperty("copyFrom");
    expect(store).not.toHaveProperty("copySource");
  });
}

/** `tried` gives the store of the test that runs. */
export function describeCopyFrom(tried: () => TriedStore): void {
  const both = (): TriedStore & { readonly other: ObjectStore } => {
    const { neighbour } = tried().opened;
    if (neighbour === undefined) throw new Error("Cannot test copyFrom: found no neighbour of the store");
    return { ...tried(), other: neighbour };
  };

  describe("copyFrom", () => {
    it.each([
      ["a few bytes", () => 1_000],
      ["several parts", ({ partBytes }: ObjectStore) => 3 * partBytes + 7],
    ])("copies an object of %s below decorators", async (_, sizeIn) => {
      const { store, other, opened } = both();
      const bytes = randomBytes(sizeIn(store));
      await other.write("a layer+1", source(bytes));
      const [into, from] = [new CountingStore(store), new CountingStore(other)];
      expect(await into.copyFrom(from, "a layer+1", keyOf(bytes), creating(bytes))).toMatchObject({
        outcome: "written",
      });
      expect(into.requests.copy).toBeGreaterThan(0);
      expect(from.requests.get, "the bytes did not pass through this process").toBe(0);
      await other.delete("a layer+1");
      expect(await listKeys(store, "")).toEqual([keyOf(bytes)]);
      expectSame(await read(await store.get(keyOf(bytes))), bytes);
      expect(await opened.leftovers()).toEqual([]);
    });

    it("copies an object that is named by its SHA-512", async () => {
      const { store, other } = both();
      const bytes = randomBytes(1_000);
      const key = keyOf(bytes, "sha512");
      await other.put(key, bytes);
      expect(await store.copyFrom?.(other, key, key, creating(bytes, "sha512"))).toEqual({
        outcome: "written",
        parts: 0,
      });
      expectSame(await read(await store.get(key)), bytes);
    });

    it("copies an empty object", async () => {
      const { store, other } = both();
      await other.put("empty", new Uint8Array());
      const copy = await store.copyFrom?.(other, "empty", "empty", creating(new Uint8Array()));
      expect(copy).toEqual({ outcome: "written", parts: 0 });
      expect((await store.head("empty"))?.size).toBe(0);
    });

    it("leaves an object as it is that should have been absent", async () => {
      const { store, other } = both();
      const bytes = randomBytes(1_000);
      await store.put(keyOf(bytes), bytes);
      const before = await store.head(keyOf(bytes));
      await other.put("layer", bytes);
      const copy = await store.copyFrom?.(other, "layer", keyOf(bytes), creating(bytes));
      expect(copy).toEqual({ outcome: "conflict", parts: 0 });
      expect(await store.head(keyOf(bytes))).toEqual(before);
    });

    it("replaces an object by its ETag, and no other", async () => {
      const { store, other, damage } = both();
      const bytes = randomBytes(1_000);
      const condition = { etag: await damage("blobs/sha256/0123", text("damaged")) };
      await other.put("layer", bytes);
      const copy = async () => store.copyFrom?.(other, "layer", "blobs/sha256/0123", { ...creating(bytes), condition });
      expect(await copy()).toEqual({ outcome: "written", parts: 0 });
      expectSame(await read(await store.get("blobs/sha256/0123")), bytes);
      expect(await copy()).toEqual({ outcome: "conflict", parts: 0 });
    });

    it("rejects if the source is not there, and makes no object", async () => {
      const { store, other, expectNothingStored } = both();
      const bytes = randomBytes(1_000);
      const copy = store.copyFrom?.(other, "layer", keyOf(bytes), creating(bytes));
      await expect(copy).rejects.toMatchObject({
        code: "STORE_UNAVAILABLE",
        message: expect.stringContaining(`"layer" is not in ${other.url}`) as unknown,
      });
      await expectNothingStored(keyOf(bytes));
    });

    it("rejects a source of another length, and makes no object", async () => {
      const { store, other, expectNothingStored } = both();
      const bytes = randomBytes(1_000);
      await other.put("layer", bytes.subarray(1));
      const copy = store.copyFrom?.(other, "layer", keyOf(bytes), creating(bytes));
      await expect(copy).rejects.toMatchObject({
        code: "STORE_DAMAGED",
        message: `Cannot use "layer" in ${other.url}: found 999 bytes, expected 1000`,
      });
      await expectNothingStored(keyOf(bytes));
    });

    it("makes no object when the signal has fired before", async () => {
      const { store, other, expectNothingStored } = both();
      const bytes = randomBytes(1_000);
      await other.put("layer", bytes);
      const reason = new Error("too late");
      const options = { ...creating(bytes), signal: AbortSignal.abort(reason) };
      await expect(store.copyFrom?.(other, "layer", keyOf(bytes), options)).rejects.toBe(reason);
      await expectNothingStored(keyOf(bytes));
    });

    it("refuses the objects of another kind of store", async () => {
      const { store, expectNothingStored } = both();
      const other = new MemoryStore();
      const bytes = randomBytes(1_000);
      await other.put("layer", bytes);
      expect(await store.copyFrom?.(other, "layer", digestOf(bytes), creating(bytes))).toBe("refused");
      await expectNothingStored(digestOf(bytes));
    });
  });
}
