/** What others can see of a store, for tests of loads that must not change it. */
import { expect } from "vitest";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { digestLike, readAll, sha256 } from "./bytes.ts";

/**
 * Every key with the digest of its content. Blobs are left out: a load that fails may leave those that came whole, and each
 * is checked here to be what its key says.
 */
export async function visibleState(store: ObjectStore): Promise<ReadonlyMap<string, string>> {
  const state = new Map<string, string>();
  for await (const { key } of store.list("")) {
    const object = await store.get(key);
    const bytes = object && (await readAll(object.body));
    const [, named] = /^blobs\/(sha\d+\/[0-9a-f]+)$/.exec(key) ?? [];
    const digest = named?.replace("/", ":");
    if (digest === undefined) state.set(key, bytes === undefined ? "gone" : sha256(bytes));
    else expect(bytes && digestLike(digest, bytes), key).toBe(digest);
  }
  return state;
}
