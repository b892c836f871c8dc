/** Finds out whether a manifest is a part of an image that a repository has: indexes name it, at any depth. */
import type { Descriptor } from "../oci/descriptor.ts";
import { isIndexType } from "../oci/manifest.ts";
import type { RepositoryIndex } from "../oci/repository-index.ts";
import type { ByteBudget } from "../streams/byte-budget.ts";
import { concurrently } from "../streams/concurrently.ts";
import { type ReadManifestOptions, readManifest } from "./read-manifest.ts";

/** Each may have up to `maxManifestBytes`. */
const maxConcurrentReads = 8;

export interface FindHolderOptions extends Omit<ReadManifestOptions, "declaredType" | "memory"> {
  /** Indexes are read at the turn of `caller`: many short requests, each for many indexes, leave room for others. */
  readonly budget?: ByteBudget | undefined;
  readonly caller?: string | undefined;
}

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
  digest: string,
  { entries }: RepositoryIndex,
  options: FindHolderOptions,
): Promise<Descriptor | undefined> {
  let holder: Descriptor | undefined;
  const seen = new Set<string>();
  let level: Unread[] = entries.map((entry) => ({ ...entry, entry }));
  for (let depth = 0; depth <= options.limits.maxIndexDepth; depth++) {
    const next: Unread[] = [];
    await concurrently(unseenIndexes(level, seen), maxConcurrentReads, async ({ entry, ...index }) => {
      if (holder !== undefined) return;
      for (const child of await childrenOf(index, options)) {
        if (child.digest === digest) holder = entry;
        if (isIndexType(child.mediaType)) next.push({ ...child, entry });
      }
    });
    if (holder !== undefined || next.length === 0) return holder;
    level = next;
  }
  return undefined;
}

async function childrenOf(
  { digest, mediaType, size }: Omit<Unread, "entry">,
  { budget, caller, signal = AbortSignal.any([]), ...options }: FindHolderOptions,
): Promise<readonly Descriptor[]> {
  const read = async (): Promise<readonly Descriptor[]> => {
    const found = await readManifest(digest, { ...options, declaredType: mediaType, signal });
    return found?.manifest.kind === "index" ? found.manifest.manifests : [];
  };
  if (budget === undefined) return read();
  return budget.parse(size, async () => budget.ask(read, { caller, signal }), { caller, signal });
}

function unseenIndexes(level: readonly Unread[], seen: Set<string>): Unread[] {
  return level.filter(({ digest, mediaType }) => {
    if (seen.has(digest) || !isIndexType(mediaType)) return false;
    seen.add(digest);
    return true;
  });
}
