/** The names of the repositories of a store. */
import { defaultRepository } from "../oci/reference.ts";
import { indexKey, repositoriesPrefix, repositoryOfIndexKey } from "../storage/keys.ts";
import type { CallOptions, ObjectStore } from "../storage/object-store.ts";

/** All of them, in the order of their names. */
export async function listRepositories(store: ObjectStore, options: CallOptions = {}): Promise<string[]> {
  const names: string[] = [];
  for await (const name of repositoryNames(store, options)) names.push(name);
  return names.toSorted();
}

export interface RepositoryPageOptions extends CallOptions {
  /** At most so many. */
  readonly limit: number;
  /** Only those whose names come after this one. */
  readonly after?: string | undefined;
  /** Only those that whoever asks may know of. */
  readonly isWanted: (name: string) => boolean;
}

/** The first of them in the order of their names: however many there are, no more than twice the limit are held. */
export async function pageOfRepositories(
  store: ObjectStore,
  { limit, after, isWanted, signal }: RepositoryPageOptions,
): Promise<string[]> {
  let names: string[] = [];
  for await (const name of repositoryNames(store, { signal })) {
    if ((after === undefined || name > after) && isWanted(name)) names.push(name);
    if (names.length > 2 * limit) names = names.toSorted().slice(0, limit);
  }
  return names.toSorted().slice(0, limit);
}

/** In the order of their keys, which is not that of their names: `a-b` comes after `a`, but before `a/_layout`. */
async function* repositoryNames(store: ObjectStore, options: CallOptions): AsyncGenerator<string> {
  if ((await store.head(indexKey(defaultRepository), options)) !== undefined) yield defaultRepository;
  for await (const { key } of store.list(repositoriesPrefix, options)) {
    const name = repositoryOfIndexKey(key);
    if (name !== undefined) yield name;
  }
}
