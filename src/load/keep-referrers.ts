/**
 * An image that comes back while a gc runs, or after one, brings its referrers back with it. What a repository has to say
 * about an image that was gone is condemned: its signatures would be taken out of the index although they are of use again,
 * and no load looks at them.
 */
import { readIndexInTurn } from "../layout/index/index-state.ts";
import type { Layout, Turn } from "../layout/layout.ts";
import type { RescuingStore } from "../layout/rescuing-store.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { subjectOf } from "../oci/index-entry.ts";
import { concurrently } from "../streams/concurrently.ts";

const maxConcurrentRescues = 32;

export interface KeepReferrersOptions extends Turn {
  readonly layout: Layout;
  readonly store: RescuingStore;
  readonly repository: string;
  /** The digests of the manifests that are about to be published. */
  readonly manifests: ReadonlySet<string>;
}

/**
 * Rescues the referrers that the repository has of these manifests, and theirs. Where a gc has marked nothing, nothing is
 * read.
 */
export async function keepReferrers(options: KeepReferrersOptions): Promise<void> {
  const { layout, store, repository, manifests, ...turn } = options;
  const { signal } = turn;
  if (!(await store.hasMarks({ signal }))) return;
  const { index } = await readIndexInTurn(store, repository, { ...turn, budget: layout.budget });
  const referrers = referrersOf(manifests, index.entries);
  await concurrently(referrers, maxConcurrentRescues, async (digest) => store.keep(digest, { signal }));
}

/** Also those of a referrer among them. */
function referrersOf(manifests: ReadonlySet<string>, entries: readonly Descriptor[]): readonly string[] {
  const bySubject = new Map<string, string[]>();
  for (const entry of entries) {
    const subject = subjectOf(entry);
    if (subject !== undefined) bySubject.set(subject, [...(bySubject.get(subject) ?? []), entry.digest]);
  }
  const found = new Set(manifests); // grows while it is gone through
  for (const subject of found) for (const digest of bySubject.get(subject) ?? []) found.add(digest);
  return [...found].filter((digest) => !manifests.has(digest));
}
