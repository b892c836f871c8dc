/** The index of a repository, for whoever reads. */
import { StowageError } from "../errors.ts";
import { maxIndexBytes } from "../limits.ts";
import { type RepositoryIndex, parseRepositoryIndex } from "../oci/repository-index.ts";
import { indexKey } from "../storage/keys.ts";
import type { CallOptions, ObjectStore } from "../storage/object-store.ts";
import { readSmallObject } from "../storage/read-small-object.ts";

/** Throws `NAME_UNKNOWN` if there is no such repository. */
export async function readRepository(
  store: ObjectStore,
  repository: string,
  options: CallOptions = {},
): Promise<RepositoryIndex> {
  const key = indexKey(repository);
  const found = await readSmallObject(store, key, { ...options, maxBytes: maxIndexBytes });
  if (found !== undefined) return parseRepositoryIndex(found.bytes, key);
  throw new StowageError("NAME_UNKNOWN", `Cannot find repository "${repository}"`, { detail: { name: repository } });
}
