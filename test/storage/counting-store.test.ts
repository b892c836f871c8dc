import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { CountingStore } from "../../src/storage/counting-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { source } from "./contract-objects.ts";

describe("CountingStore", () => {
  it("counts what is asked, and passes it on", async () => {
    const memory = new MemoryStore();
    const store = new CountingStore(memory);
    expect(store.requests).toEqual({ head: 0, get: 0, put: 0, part: 0, copy: 0, list: 0, delete: 0 });
    await store.head("a");
    await store.get("a");
    await store.get("b");
    await store.put("a", new Uint8Array(1), { condition: "absent" });
    await store.write("b", source(randomBytes(10)));
    for await (const { key } of store.list("a")) expect(key).toBe("a");
    await store.delete("a");
    expect(await memory.head("a")).toBeUndefined();
    expect(store.requests).toEqual({ head: 1, get: 2, put: 2, part: 0, copy: 0, list: 1, delete: 1 });
    expect([store.url, store.partBytes]).toEqual([memory.url, memory.partBytes]);
    expect(store.writeBufferBytes(1e8)).toBe(memory.writeBufferBytes());
    expect(store.copyBufferBytes(1e8)).toBe(memory.copyBufferBytes());
  });

  it("counts the creation, the parts and the completion of a stream in parts", async () => {
    const memory = new MemoryStore();
    memory.write = () => Promise.resolve({ outcome: "written", parts: 3 });
    const store = new CountingStore(memory);
    await store.write("a", source(randomBytes(10)));
    expect(store.requests).toMatchObject({ put: 2, part: 3 });
  });

  it("counts what is copied", async () => {
    const memory = new MemoryStore();
    const store = new CountingStore(memory);
    await memory.put("staging/1", randomBytes(10));
    const creating = { size: 10, condition: "absent" } as const;
    await store.copy("staging/1", "copy", creating);
    await store.copy("staging/1", "copy", creating); // it is there
    expect(store.requests).toMatchObject({ put: 0, part: 0, copy: 1 });
    memory.copy = () => Promise.resolve({ outcome: "written", parts: 2 });
    await store.copy("staging/1", "another", creating);
    expect(store.requests).toMatchObject({ put: 2, part: 0, copy: 3 });
  });

  it("counts what is copied from another store, and nothing that is refused", async () => {
    const memory: ObjectStore = new MemoryStore();
    const store = new CountingStore(memory);
    const copy = async () => store.copyFrom(new MemoryStore(), "a", "a", { size: 10 });
    expect(await copy(), "a store that cannot").toBe("refused");
    memory.copyFrom = () => Promise.resolve("refused");
    expect(await copy()).toBe("refused");
    expect(store.requests).toMatchObject({ put: 0, part: 0, copy: 0 });
    memory.copyFrom = () => Promise.resolve({ outcome: "written", parts: 2 });
    expect(await copy()).toEqual({ outcome: "written", parts: 2 });
    expect(store.requests).toMatchObject({ put: 2, part: 0, copy: 2 });
  });

  it("keeps counts that were read as they were", async () => {
    const store = new CountingStore(new MemoryStore());
    const before = store.requests;
    await store.head("a");
    expect(before.head).toBe(0);
  });
});
