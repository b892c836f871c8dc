/** Finds a manifest by tag or digest. */
import { StowageError, quote } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { isSha256Digest } from "../oci/digest.ts";
import { type RepositoryIndex, tagOf } from "../oci/repository-index.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import type { CallerMemory } from "../storage/read-small-object.ts";
import { findHolder } from "./find-holder.ts";
import { readManifest } from "./read-manifest.ts";
import { type ReadRepositoryOptions, readRepository } from "./read-repository.ts";

export interface FindOptions extends ReadRepositoryOptions {
  readonly store: ObjectStore;
  readonly limits: Limits;
  /** The memory in which large manifests are read. */
  readonly memory?: CallerMemory | undefined;
}

export interface FoundManifest {
  readonly digest: string;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** Finds a manifest in a repository, as `findInRepository` does. Throws `NAME_UNKNOWN` too. */
export async function findManifest(
  repository: string,
  reference: string,
  options: FindOptions,
): Promise<FoundManifest> {
  const index = await readRepository(options.store, repository, options);
  return findInRepository({ repository, index }, reference, options);
}

/** A repository whose index has been read. */
export interface ReadRepository {
  readonly repository: string;
  readonly index: RepositoryIndex;
}

/**
 * Finds a manifest by tag or digest. By digest it finds each manifest that the store has: those below an index are named
 * in no repository's index, and all repositories share their blobs. But one that was removed from this repository it finds
 * only as a part of an image that is there.
 * Throws `MANIFEST_UNKNOWN`, and `STORE_DAMAGED` if the index names what is not there.
 */
export async function findInRepository(
  { repository, index }: ReadRepository,
  reference: string,
  options: FindOptions,
): Promise<FoundManifest> {
  const digest = isSha256Digest(reference) ? reference : digestOfTag(index, repository, reference);
  const declaredType = index.entries.find((entry) => entry.digest === digest)?.mediaType;
  if (declaredType === undefined && (await isGone(digest, index, options)))
    throw unknownManifest(repository, reference);
  const found = await readManifest(digest, { ...options, declaredType });
  if (found !== undefined) return { digest, mediaType: found.manifest.mediaType, bytes: found.bytes };
  if (declaredType === undefined) throw unknownManifest(repository, reference);
  throw new StowageError(
    "STORE_DAMAGED",
    `Cannot read manifest "${digest}": "${repository}" names it, the store lost it`,
  );
}

export function unknownManifest(repository: string, reference: string): StowageError {
  return new StowageError(
    "MANIFEST_UNKNOWN",
    `Cannot find manifest ${quote(reference)} in repository "${repository}"`,
    {
      detail: { name: repository, reference },
    },
  );
}

function digestOfTag(index: RepositoryIndex, repository: string, tag: string): string {
  const entry = index.entries.find((candidate) => tagOf(candidate) === tag);
  if (entry === undefined) throw unknownManifest(repository, tag);
  return entry.digest;
}

/** Was it removed, and is it no part of what is left? */
async function isGone(
  digest: string,
  index: RepositoryIndex,
  { store, limits, budget, caller, signal }: FindOptions,
): Promise<boolean> {
  if (!index.removed.includes(digest)) return false;
  return (await findHolder(digest, index, { store, limits, budget, caller, signal })) === undefined;
}
