import { beforeEach, describe, expect, it } from "vitest";
import { GuardedStore } from "../../src/layout/guarded-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { listAll, source, text } from "./contract-objects.ts";

const bytes = text("hello");

/** Every way to change what is in a store. */
const writes: readonly (readonly [string, (store: ObjectStore) => Promise<unknown>])[] = [
  ["put", async (store) => store.put("index.json", bytes, { condition: "absent" })],
  ["put without a condition", async (store) => store.put("staging/1", bytes)],
  ["write", async (store) => store.write("staging/1", source(bytes))],
  ["copy", async (store) => store.copy("staging/1", "copy", { size: bytes.length })],
  ["copyFrom", async (store) => store.copyFrom?.(new MemoryStore(), "staging/1", "copy", { size: bytes.length })],
  ["delete", async (store) => store.delete("staging/1")],
];

describe("GuardedStore", () => {
  let careless: MemoryStore;
  beforeEach(async () => {
    careless = new MemoryStore();
    await careless.put("staging/1", bytes);
    const put = careless.put.bind(careless);
    careless.put = async (key, written) => put(key, written);
    Object.assign(careless, { copyFrom: copyBytes(careless) });
  });

  it.each(writes)(
    "lets %s change nothing in a store that ignores conditions, and leaves no doubt of that",
    async (_, write) => {
      const before = await listAll(careless, "");
      await expect(write(new GuardedStore(careless))).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
      expect(await listAll(careless, "")).toEqual(before);
    },
  );

  it.each(writes)("lets %s pass in a store that honours them", async (_, write) => {
    const store = new MemoryStore();
    await store.put("staging/1", bytes);
    Object.assign(store, { copyFrom: copyBytes(store) });
    await write(new GuardedStore(store));
    expect((await listAll(store, "")).map(({ key }) => key)).toContain("oci-layout");
  });
});

/** A store's own copies: the source is a name. */
function copyBytes(store: ObjectStore): NonNullable<ObjectStore["copyFrom"]> {
  return async (_, from, to, options) => store.copy(from, to, options);
}
