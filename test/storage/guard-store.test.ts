import { beforeEach, describe, expect, it } from "vitest";
import { guardStore } from "../../src/storage/guard-store.ts";
import { isUnanswered } from "../../src/storage/is-unanswered.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { inChunks, listAll, text, whole } from "./contract-objects.ts";

const bytes = text("hello");
const { digest, size } = whole(bytes);

/** Every way to change what is in a store. */
const writes: readonly (readonly [string, (store: ObjectStore) => Promise<unknown>])[] = [
  ["putBlob", (store) => store.putBlob(whole(bytes))],
  ["putIf", (store) => store.putIf("index.json", bytes, "absent")],
  ["put", (store) => store.put("staging/1", bytes)],
  ["putStaged", (store) => store.putStaged({ key: "staging/1", size, body: inChunks(bytes, 2) })],
  ["promote", (store) => store.promote("staging/1", { digest, size })],
  ["delete", (store) => store.delete("staging/1")],
];

describe("guardStore", () => {
  let careless: MemoryStore;
  beforeEach(async () => {
    careless = new MemoryStore();
    await careless.put("staging/1", bytes);
    careless.putIf = (key, written) => careless.put(key, written).then(() => ({ etag: "any" }));
  });

  it.each(writes)("lets %s change nothing in a store that ignores conditions", async (_, write) => {
    const before = await listAll(careless, "");
    await expect(write(guardStore(careless))).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(await listAll(careless, "")).toEqual(before);
  });

  it("leaves no doubt that nothing of what it refuses was done", async () => {
    const refusal = await guardStore(careless)
      .putIf("index.json", bytes, "absent")
      .catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(isUnanswered(refusal)).toBe(false);
  });

  it.each(writes)("lets %s pass in a store that honours them", async (_, write) => {
    const store = new MemoryStore();
    await store.put("staging/1", bytes);
    await write(guardStore(store));
    expect((await listAll(store, "")).map(({ key }) => key)).toContain("oci-layout");
  });
});
