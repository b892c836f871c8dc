import { describe, expect, it } from "vitest";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { inChunks, listAll, read, text } from "./contract-objects.ts";
import { describeStoreContract } from "./contract.ts";

describeStoreContract("MemoryStore", () => {
  const store = new MemoryStore({ partBytes: 1024 * 1024 });
  return { store, reopen: () => store, leftovers: () => Promise.resolve([]), close: () => Promise.resolve() };
});

describe("MemoryStore", () => {
  it("keeps its bytes apart from those of writers and readers", async () => {
    const store = new MemoryStore();
    const bytes = text("hello");
    await store.put("object", bytes);
    bytes.fill(0);
    const object = await store.get("object");
    for await (const chunk of object?.body ?? []) chunk.fill(0);
    expect(await read(await store.get("object"))).toEqual(text("hello"));
  });

  it("refuses a body of another size", async () => {
    const store = new MemoryStore();
    const written = store.write("object", { size: 6, body: inChunks(text("hello"), 2) });
    await expect(written).rejects.toThrow(/received 5 bytes, expected 6/);
    expect(await listAll(store, "")).toEqual([]);
  });

  it("lists in the order of UTF-8 bytes, not of UTF-16 units", async () => {
    const store = new MemoryStore();
    for (const key of ["\u{1f600}", "\uff5e", "z"]) await store.put(key, text(key));
    expect((await listAll(store, "")).map(({ key }) => key)).toEqual(["z", "\uff5e", "\u{1f600}"]);
  });
});
