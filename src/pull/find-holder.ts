/** Finds out whether a manifest is a part of an image that a repository has: indexes name it, at any depth. */
import type { Descriptor } from "../oci/descriptor.ts";
import { isIndexType } from "../oci/manifest.ts";
import type { RepositoryIndex } from "../oci/repository-index.ts";
import { concurrently } from "../streams/concurrently.ts";
import { type ReadManifestOptions, readManifest } from "./read-manifest.ts";

/** Each may have up to `maxManifestBytes`. */
const maxConcurrentReads = 8;

/** An index that is still to be read. */
interface Unread {
  readonly digest: string;
  readonly mediaType: string;
  /** The entry from which it is reached. */
  readonly entry: Descriptor;
}

/**
 * Returns an entry of the repository's index whose image has the manifest as a part, if there is one. It reads the
 * indexes, each once, level by level: so this is for the few manifests of which nothing else tells whether they are served.
 */
export async function findHolder(
  digest: string,
  { entries }: RepositoryIndex,
  options: Omit<ReadManifestOptions, "declaredType">,
): Promise<Descriptor | undefined> {
  let holder: Descriptor | undefined;
  const seen = new Set<string>();
  let level: Unread[] = entries.map((entry) => ({ digest: entry.digest, mediaType: entry.mediaType, entry }));
  for (let depth = 0; depth <= options.limits.maxIndexDepth; depth++) {
    const next: Unread[] = [];
    await concurrently(unseenIndexes(level, seen), maxConcurrentReads, async ({ entry, ...index }) => {
      if (holder !== undefined) return;
      const found = await readManifest(index.digest, { ...options, declaredType: index.mediaType });
      if (found?.manifest.kind !== "index") return;
      for (const child of found.manifest.manifests) {
        if (child.digest === digest) holder = entry;
        next.push({ digest: child.digest, mediaType: child.mediaType, entry });
      }
    });
    if (holder !== undefined || next.length === 0) return holder;
    level = next;
  }
  return undefined;
}

function unseenIndexes(level: readonly Unread[], seen: Set<string>): Unread[] {
  return level.filter(({ digest, mediaType }) => {
    if (seen.has(digest) || !isIndexType(mediaType)) return false;
    seen.add(digest);
    return true;
  });
}
