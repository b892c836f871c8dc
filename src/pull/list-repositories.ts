/** The names of all repositories of a store. */
import { defaultRepository } from "../oci/reference.ts";
import { indexKey, repositoriesPrefix, repositoryOfIndexKey } from "../storage/keys.ts";
import type { CallOptions, ObjectStore } from "../storage/object-store.ts";

/** In the order of their names, which is not that of their keys: `a-b` comes after `a`, but before `a/_layout`. */
export async function listRepositories(store: ObjectStore, options: CallOptions = {}): Promise<string[]> {
  const names: string[] = [];
  const defaultIndex = await store.head(indexKey(defaultRepository), options);
  if (defaultIndex !== undefined) names.push(defaultRepository);
  for await (const { key } of store.list(repositoriesPrefix, options)) {
    const name = repositoryOfIndexKey(key);
    if (name !== undefined) names.push(name);
  }
  return names.toSorted();
}
