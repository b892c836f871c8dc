/** Finds a manifest by tag or digest. */
import { StowageError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { isSha256Digest } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";
import { type RepositoryIndex, tagOf } from "../oci/repository-index.ts";
import { blobKey } from "../storage/keys.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { readSmallObject } from "../storage/read-small-object.ts";
import { readRepository } from "./read-repository.ts";

export interface FindOptions {
  readonly store: ObjectStore;
  readonly limits: Limits;
  readonly signal?: AbortSignal | undefined;
}

export interface FoundManifest {
  readonly digest: string;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/**
 * Finds a manifest in a repository. By digest it finds each manifest that the store has: those below an index are named
 * in no repository's index, and all repositories share their blobs.
 * Throws `NAME_UNKNOWN`, `MANIFEST_UNKNOWN`, and `STORE_DAMAGED` if the index names what is not there.
 */
export async function findManifest(
  repository: string,
  reference: string,
  options: FindOptions,
): Promise<FoundManifest> {
  const index = await readRepository(options.store, repository, options);
  const digest = isSha256Digest(reference) ? reference : digestOfTag(index, repository, reference);
  const declaredType = index.entries.find((entry) => entry.digest === digest)?.mediaType;
  const found = await readManifest(digest, declaredType, options);
  if (found !== undefined) return found;
  if (declaredType === undefined) throw unknownManifest(repository, reference);
  throw new StowageError(
    "STORE_DAMAGED",
    `Cannot read manifest "${digest}": "${repository}" names it, the store lost it`,
  );
}

function digestOfTag(index: RepositoryIndex, repository: string, tag: string): string {
  const entry = index.entries.find((candidate) => tagOf(candidate) === tag);
  if (entry === undefined) throw unknownManifest(repository, tag);
  return entry.digest;
}

/** Undefined if it is not there, or is a blob of another kind. */
async function readManifest(
  digest: string,
  declaredType: string | undefined,
  { store, limits, signal }: FindOptions,
): Promise<FoundManifest | undefined> {
  try {
    const found = await readSmallObject(store, blobKey(digest), { maxBytes: limits.maxManifestBytes, signal });
    if (found === undefined) return undefined;
    return { digest, bytes: found.bytes, mediaType: parseManifest(found.bytes, digest, declaredType).mediaType };
  } catch (error) {
    if (error instanceof StowageError && notAManifest.has(error.code)) return undefined;
    throw error;
  }
}

const notAManifest: ReadonlySet<string> = new Set(["LIMIT_EXCEEDED", "MANIFEST_INVALID"]);

function unknownManifest(repository: string, reference: string): StowageError {
  return new StowageError("MANIFEST_UNKNOWN", `Cannot find manifest "${reference}" in repository "${repository}"`, {
    detail: { name: repository, reference },
  });
}
