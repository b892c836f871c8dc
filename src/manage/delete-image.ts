/** Deletes an image from a repository (distribution specification, "Deleting Images"). */
import { commitSet } from "../commit/commit-set.ts";
import { conditionFailed } from "../commit/condition-failed.ts";
import { StowageError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { isSha256Digest } from "../oci/digest.ts";
import type { Expectation, RemoveDigestChange, RemoveTagChange } from "../oci/index-change.ts";
import { formatReference } from "../oci/reference.ts";
import { tagOf } from "../oci/repository-index.ts";
import { type TagPattern, tagPatternsOf } from "../oci/tag-pattern.ts";
import { findHolder } from "../pull/find-holder.ts";
import { type ReadRepository, findInRepository, unknownManifest } from "../pull/find-manifest.ts";
import { type ReadRepositoryOptions, readRepository } from "../pull/read-repository.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import type { CallerMemory } from "../storage/read-small-object.ts";

export interface DeleteOptions extends Omit<ReadRepositoryOptions, "signal"> {
  readonly store: ObjectStore;
  readonly limits: Limits;
  /** The memory in which large manifests are read. */
  readonly memory?: CallerMemory | undefined;
  /** What the tag, or the digest, has to be at before it goes. */
  readonly expects?: Expectation | undefined;
  /** Tags that are never removed. */
  readonly immutableTags?: readonly TagPattern[] | undefined;
  /** Ends the looking; a change that was begun is finished. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Removes a tag, or, by its digest, a manifest with all its tags: from then on the repository does not serve it. Its bytes
 * stay until garbage collection, for other repositories. Returns its digest.
 *
 * A part of an image that stays is served as before, so that every image is whole: where it has tags of its own only those
 * go, and where it has none it is refused (`UNSUPPORTED`). Throws `NAME_UNKNOWN`, `MANIFEST_UNKNOWN`, `TAG_IMMUTABLE`,
 * `CONDITION_FAILED`, and what `commitSet` throws.
 */
export async function deleteImage(repository: string, reference: string, options: DeleteOptions): Promise<string> {
  const { store, immutableTags = [], budget, caller } = options;
  const read = { repository, index: await readRepository(store, repository, options) };
  const change = isSha256Digest(reference)
    ? await removalOfDigest(read, reference, options)
    : removalOfTag(read, reference, options);
  const set = { changes: [change], immutableTags: tagPatternsOf(immutableTags, repository) };
  const [outcome] = await commitSet(repository, set, { store, budget, caller });
  if (outcome?.previous !== undefined) return outcome.previous;
  throw unknownManifest(repository, reference); // somebody else was faster
}

/** What is not there fails no condition: it is not there (RFC 9110, section 13.2.1). */
function removalOfTag({ repository, index }: ReadRepository, tag: string, { expects }: DeleteOptions): RemoveTagChange {
  if (index.entries.some((entry) => tagOf(entry) === tag)) return { op: "remove", tag, expects };
  throw unknownManifest(repository, tag);
}

async function removalOfDigest(
  read: ReadRepository,
  digest: string,
  options: DeleteOptions,
): Promise<RemoveDigestChange> {
  const { repository, index } = read;
  const { expects } = options;
  if (!index.entries.some((entry) => entry.digest === digest)) {
    await findInRepository(read, digest, options);
    const holder = await findHolder(digest, index, options);
    if (holder !== undefined) throw isPart(digest, holder, repository);
  }
  if (expects === undefined || (expects !== "absent" && expects.digest === digest)) return { op: "remove", digest };
  throw conditionFailed({ repository, reference: digest, found: digest, expects });
}

function isPart(digest: string, holder: Descriptor, repository: string): StowageError {
  const name = formatReference(repository, tagOf(holder) ?? holder.digest);
  return new StowageError(
    "UNSUPPORTED",
    `Cannot delete "${digest}" from "${repository}": it is a part of "${name}", which would not be whole without it`,
    { detail: { name: repository, reference: digest, index: holder.digest } },
  );
}
