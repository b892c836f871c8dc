/** The index of a repository, for whoever reads. */
import { StowageError } from "../errors.ts";
import { maxIndexBytes } from "../limits.ts";
import { type RepositoryIndex, parseRepositoryIndex } from "../oci/repository-index.ts";
import { indexKey } from "../storage/keys.ts";
import type { CallOptions, ObjectStore } from "../storage/object-store.ts";
import { readSmallObject } from "../storage/read-small-object.ts";
import { SharedReads } from "./shared-reads.ts";

/** By store. A large index takes some 100 MiB while it is parsed: a crowd that pulls from one repository shares it. */
const readsOf = new WeakMap<ObjectStore, SharedReads<RepositoryIndex>>();

/** Throws `NAME_UNKNOWN` if there is no such repository. */
export async function readRepository(
  store: ObjectStore,
  repository: string,
  { signal }: CallOptions = {},
): Promise<RepositoryIndex> {
  const reads = readsOf.get(store) ?? new SharedReads();
  readsOf.set(store, reads);
  return reads.read(repository, async () => readIndex(store, repository), signal);
}

async function readIndex(store: ObjectStore, repository: string): Promise<RepositoryIndex> {
  const key = indexKey(repository);
  const found = await readSmallObject(store, key, { maxBytes: maxIndexBytes });
  if (found !== undefined) return parseRepositoryIndex(found.bytes, key);
  throw new StowageError("NAME_UNKNOWN", `Cannot find repository "${repository}"`, { detail: { name: repository } });
}
