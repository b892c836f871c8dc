/** What others can see of a store, for tests of loads that must not change it. */
import { expect } from "vitest";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { readAll, sha256 } from "./bytes.ts";

const blobsPrefix = "blobs/sha256/";

/**
 * Every key with the digest of its content. Blobs are left out: a load that fails may leave those that came whole, and each
 * is checked here to be what its key says.
 */
export async function visibleState(store: ObjectStore): Promise<ReadonlyMap<string, string>> {
  const state = new Map<string, string>();
  for await (const { key } of store.list("")) {
    const object = await store.get(key);
    const digest = object === undefined ? "gone" : sha256(await readAll(object.body));
    if (key.startsWith(blobsPrefix)) expect(digest, key).toBe(`sha256:${key.slice(blobsPrefix.length)}`);
    else state.set(key, digest);
  }
  return state;
}
