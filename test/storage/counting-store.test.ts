import { createHash, randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { CountingStore } from "../../src/storage/counting-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { BlobSource } from "../../src/storage/object-store.ts";

describe("CountingStore", () => {
  it("counts what is asked, and passes it on", async () => {
    const memory = new MemoryStore();
    const store = new CountingStore(memory);
    expect(store.requests).toEqual({ head: 0, get: 0, put: 0, part: 0, copy: 0, list: 0, delete: 0 });
    await store.head("a");
    await store.get("a");
    await store.get("b");
    await store.putIf("a", new Uint8Array(1), "absent");
    await store.putBlob(blobOf(10));
    for await (const { key } of store.list("a")) expect(key).toBe("a");
    await store.delete("a");
    expect(await memory.head("a")).toBeUndefined();
    expect(store.requests).toEqual({ head: 1, get: 2, put: 2, part: 0, copy: 0, list: 1, delete: 1 });
    expect([store.url, store.partBytes]).toEqual([memory.url, memory.partBytes]);
    expect(store.streamBufferBytes(1e8)).toBe(memory.streamBufferBytes());
    expect(store.promoteBufferBytes(1e8)).toBe(memory.promoteBufferBytes());
  });

  it("counts the creation, the parts and the completion of a blob in parts", async () => {
    const memory = new MemoryStore();
    memory.putBlob = () => Promise.resolve({ outcome: "written", parts: 3 });
    const store = new CountingStore(memory);
    await store.putBlob(blobOf(10));
    expect(store.requests).toMatchObject({ put: 2, part: 3 });
  });

  it("counts what is staged and copied", async () => {
    const memory = new MemoryStore();
    const store = new CountingStore(memory);
    const { digest, size, body } = blobOf(10);
    await store.putStaged({ key: "staging/1", size, body: streamOf(body) });
    await store.promote("staging/1", { digest, size });
    await store.promote("staging/1", { digest, size }); // it is present
    expect(store.requests).toMatchObject({ put: 1, part: 0, copy: 1 });
    memory.putStaged = () => Promise.resolve({ parts: 3 });
    memory.promote = () => Promise.resolve({ outcome: "written", parts: 2 });
    await store.putStaged({ key: "staging/2", size, body: streamOf(body) });
    await store.promote("staging/2", { digest, size });
    expect(store.requests).toMatchObject({ put: 5, part: 3, copy: 3 });
  });

  it("keeps counts that were read as they were", async () => {
    const store = new CountingStore(new MemoryStore());
    const before = store.requests;
    await store.head("a");
    expect(before.head).toBe(0);
  });
});

async function* streamOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}

function blobOf(size: number): BlobSource & { readonly body: Uint8Array } {
  const body = randomBytes(size);
  return { digest: `sha256:${createHash("sha256").update(body).digest("hex")}`, size, body };
}
