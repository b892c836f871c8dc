/** Finds out whether a manifest is a part of an image that a repository has: indexes name it, at any depth. */
import type { Descriptor } from "../oci/descriptor.ts";
import { isIndexType } from "../oci/manifest.ts";
import type { RepositoryIndex } from "../layout/read-repository.ts";
import { concurrently } from "../streams/concurrently.ts";
import type { Layout, Turn } from "../layout/layout.ts";
import { readManifest } from "../layout/read-manifest.ts";

/** Each may have up to `maxManifestBytes`. */
const maxConcurrentReads = 8;

/** An index that is still to be read. */
interface Unread extends Pick<Descriptor, "digest" | "mediaType" | "size"> {
  /** The entry from which it is reached. */
  readonly entry: Descriptor;
}

/**
 * Returns an entry of the repository's index whose image has the manifest as a part, if there is one. It reads the
 * indexes, each once, level by level: so this is for the few manifests of which nothing else tells whether they are served.
 */
export async function findHolder(
  layout: Layout,
  digest: string,
  { entries }: RepositoryIndex,
  turn: Turn,
): Promise<Descriptor | undefined> {
  let holder: Descriptor | undefined;
  const seen = new Set<string>();
  let level: Unread[] = entries.map((entry) => ({ ...entry, entry }));
  for (let depth = 0; depth <= layout.limits.maxIndexDepth; depth++) {
    const next: Unread[] = [];
    await concurrently(unseenIndexes(level, seen), maxConcurrentReads, async ({ entry, ...index }) => {
      if (holder !== undefined) return;
      for (const child of await childrenOf(layout, index, turn)) {
        if (child.digest === digest) holder = entry;
        if (isIndexType(child.mediaType)) next.push({ ...child, entry });
      }
    });
    if (holder !== undefined || next.length === 0) return holder;
    level = next;
  }
  return undefined;
}

/** Indexes are read at the caller's turn: many short requests, each for many indexes, leave room for others. */
async function childrenOf(
  layout: Layout,
  index: Pick<Descriptor, "digest" | "mediaType">,
  { caller, signal = AbortSignal.any([]) }: Turn,
): Promise<readonly Descriptor[]> {
  const read = async (): ReturnType<typeof readManifest> => readManifest(layout, index, { caller, signal });
  const found = await layout.budget.ask(read, { caller, signal });
  return found?.manifest.kind === "index" ? found.manifest.manifests : [];
}

function unseenIndexes(level: readonly Unread[], seen: Set<string>): Unread[] {
  return level.filter(({ digest, mediaType }) => {
    if (seen.has(digest) || !isIndexType(mediaType)) return false;
    seen.add(digest);
    return true;
  });
}
