/** Finds a manifest by tag or digest. */
import { StowageError, quote } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { isSha256Digest } from "../oci/digest.ts";
import { type RepositoryIndex, tagOf } from "../oci/repository-index.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { findHolder } from "./find-holder.ts";
import { type ReadManifestOptions, readManifest } from "./read-manifest.ts";
import { type ReadRepositoryOptions, readRepository } from "./read-repository.ts";

export interface FindOptions extends ReadRepositoryOptions {
  readonly store: ObjectStore;
  readonly limits: Limits;
  /** Reads the manifest. `readManifest` without it. */
  readonly read?:
    ((digest: string, declaredType: string | undefined) => Promise<ManifestContent | undefined>) | undefined;
}

/** A manifest that was read and checked. */
export interface ManifestContent {
  readonly mediaType: string;
  /** Length in bytes. */
  readonly size: number;
  /** Undefined if the reader did not keep them. */
  readonly bytes: Uint8Array | undefined;
}

export interface FoundManifest extends ManifestContent {
  readonly digest: string;
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
  const { read = async () => readContent(digest, { ...options, declaredType }) } = options;
  const content = await read(digest, declaredType);
  if (content !== undefined) return { digest, ...content };
  if (declaredType === undefined) throw unknownManifest(repository, reference);
  throw new StowageError(
    "STORE_DAMAGED",
    `Cannot read manifest "${digest}": "${repository}" names it, the store lost it`,
  );
}

/** The bytes and the type of a manifest. Undefined as `readManifest` says. */
export async function readContent(digest: string, options: ReadManifestOptions): Promise<ManifestContent | undefined> {
  const found = await readManifest(digest, options);
  return found && { mediaType: found.manifest.mediaType, size: found.bytes.length, bytes: found.bytes };
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
  { store, limits, signal }: FindOptions,
): Promise<boolean> {
  return index.removed.includes(digest) && (await findHolder(digest, index, { store, limits, signal })) === undefined;
}
