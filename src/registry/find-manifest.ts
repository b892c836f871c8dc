/** Finds a manifest by tag or digest. */
import { type Digest, isDigest } from "../digest.ts";
import { quote, StowageError } from "../errors.ts";
import type { Layout } from "../layout/layout.ts";
import { readManifest } from "../layout/read-manifest.ts";
import { type RepositoryIndex, readRepository } from "../layout/read-repository.ts";
import type { Descriptor, ManifestIdentity } from "../oci/descriptor.ts";
import { tagOf } from "../oci/index-entry.ts";
import { isIndexType } from "../oci/manifest.ts";
import type { Requester } from "../streams/byte-budget.ts";
import { concurrently } from "../streams/concurrently.ts";

export interface FoundManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** Finds a manifest in a repository, as `findInRepository` does. Throws `NAME_UNKNOWN` too. */
export async function findManifest(
  layout: Layout,
  { repository, reference }: ManifestName,
  requester: Requester = {},
): Promise<FoundManifest> {
  const index = await readRepository(layout, repository, requester);
  return findInRepository(layout, { repository, reference, index }, requester);
}

export interface ManifestName {
  readonly repository: string;
  /** A tag or a digest. */
  readonly reference: string;
}

/** A name in a repository whose index has been read. */
export interface NameInIndex extends ManifestName {
  readonly index: RepositoryIndex;
}

/**
 * Finds a manifest by tag or digest. By digest, every manifest in the store is found: all repositories share their
 * blobs, and a repository's index does not name the platforms of a multi-platform image. A manifest that was removed
 * from this repository is found only if it is a part of an image that is still there. Throws `MANIFEST_UNKNOWN`, and
 * `STORE_DAMAGED` if the store lost a manifest that the index names.
 */
export async function findInRepository(
  layout: Layout,
  { repository, reference, index }: NameInIndex,
  requester: Requester,
): Promise<FoundManifest> {
  const digest = isDigest(reference) ? reference : digestOfTag(index, repository, reference);
  const mediaType = index.entries.find((entry) => entry.digest === digest)?.mediaType;
  if (mediaType === undefined && (await isGone(layout, digest, index, requester)))
    throw unknownManifest(repository, reference);
  const found = await readManifest(layout, { digest, mediaType }, requester);
  if (found !== undefined) return { digest, mediaType: found.manifest.mediaType, bytes: found.bytes };
  if (mediaType === undefined) throw unknownManifest(repository, reference);
  throw new StowageError(
    "STORE_DAMAGED",
    `Cannot read manifest "${digest}": "${repository}" names it, and the store does not have it`,
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

function digestOfTag(index: RepositoryIndex, repository: string, tag: string): Digest {
  const entry = index.entries.find((candidate) => tagOf(candidate) === tag);
  if (entry === undefined) throw unknownManifest(repository, tag);
  return entry.digest;
}

/** Was the manifest removed, and is it not a part of any image that is left? */
async function isGone(layout: Layout, digest: Digest, index: RepositoryIndex, requester: Requester): Promise<boolean> {
  if (!index.removed.includes(digest)) return false;
  return (await findHolder(layout, digest, index, requester)) === undefined;
}

/** Indexes that are read at the same time. Each may have up to `maxManifestBytes`. */
const maxConcurrentReads = 8;

/** A descriptor below an entry of the repository's index. */
interface Unread extends ManifestIdentity {
  /** The entry of the repository's index that leads to the descriptor. */
  readonly entry: Descriptor;
}

/**
 * Returns an entry of the repository's index whose image has the manifest as a part, at any depth. Reads each image
 * index once, level by level. That is slow, but only a manifest that was removed needs it.
 */
export async function findHolder(
  layout: Layout,
  digest: Digest,
  { entries }: RepositoryIndex,
  requester: Requester,
): Promise<Descriptor | undefined> {
  let holder: Descriptor | undefined;
  const seen = new Set<Digest>();
  let level: Unread[] = entries.map((entry) => ({ ...entry, entry }));
  for (let depth = 0; depth <= layout.limits.maxIndexDepth; depth++) {
    const next: Unread[] = [];
    await concurrently(unseenIndexes(level, seen), maxConcurrentReads, async ({ entry, ...index }) => {
      if (holder !== undefined) return;
      for (const child of await childrenOf(layout, index, requester)) {
        if (child.digest === digest) holder = entry;
        if (isIndexType(child.mediaType)) next.push({ ...child, entry });
      }
    });
    if (holder !== undefined || next.length === 0) return holder;
    level = next;
  }
  return undefined;
}

/** Reads an index at the caller's turn: a caller that makes many such requests leaves room for other callers. */
async function childrenOf(
  layout: Layout,
  index: Pick<Descriptor, "digest" | "mediaType">,
  requester: Requester,
): Promise<readonly Descriptor[]> {
  const found = await layout.budget.ask(async () => readManifest(layout, index, requester), requester);
  return found?.manifest.kind === "index" ? found.manifest.manifests : [];
}

function unseenIndexes(level: readonly Unread[], seen: Set<Digest>): Unread[] {
  return level.filter(({ digest, mediaType }) => {
    if (seen.has(digest) || !isIndexType(mediaType)) return false;
    seen.add(digest);
    return true;
  });
}
