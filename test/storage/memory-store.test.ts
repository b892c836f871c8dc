import { describe, expect, it } from "vitest";
import { blobKey } from "../../src/storage/keys.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { listAll, read, streamed, text, whole } from "./contract-objects.ts";
import { describeStoreContract } from "./contract.ts";

describeStoreContract("MemoryStore", () => {
  const store = new MemoryStore({ partBytes: 1024 * 1024 });
  return { store, reopen: () => store, leftovers: () => Promise.resolve([]), close: () => Promise.resolve() };
});

describe("MemoryStore", () => {
  it("keeps its bytes apart from those of writers and readers", async () => {
    const store = new MemoryStore();
    const bytes = text("hello");
    const { digest } = whole(bytes);
    await store.putBlob({ digest, size: 5, body: bytes });
    bytes.fill(0);
    const object = await store.get(blobKey(digest));
    for await (const chunk of object?.body ?? []) chunk.fill(0);
    expect(await read(await store.get(blobKey(digest)))).toEqual(text("hello"));
  });

  it("refuses a blob whose body has another size", async () => {
    const store = new MemoryStore();
    const blob = { ...streamed(text("hello"), 2), size: 6 };
    await expect(store.putBlob(blob)).rejects.toThrow(/received 5 bytes, expected 6/);
    expect(await listAll(store, "")).toEqual([]);
  });

  it("lists in the order of UTF-8 bytes, not of UTF-16 units", async () => {
    const store = new MemoryStore();
    for (const key of ["\u{1f600}", "\uff5e", "z"]) await store.putIf(key, text(key), "absent");
    expect((await listAll(store, "")).map(({ key }) => key)).toEqual(["z", "\uff5e", "\u{1f600}"]);
  });
});
