/** What a load found in the store long ago may have been condemned since: it is found once more before it is published. */
import { StowageError } from "../errors.ts";
import { type ClosedRoot, type ClosureOptions, checkClosure } from "../layout/check-closure.ts";
import type { RescuingStore } from "../layout/condemned.ts";
import type { Layout, Turn } from "../layout/layout.ts";
import { readEntries } from "../layout/read-repository.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { subjectOf } from "../oci/index-entry.ts";
import { concurrently } from "../streams/concurrently.ts";

const maxTries = 3;

/** Nothing is known of the store but what it says now. */
const nothing: ClosureOptions["known"] = { sizeOf: () => undefined, manifest: () => undefined };

export interface KeepClosedOptions extends Omit<ClosureOptions, "known">, Omit<KeepReferrersOptions, "manifests"> {
  /** Where the roots are about to be published. */
  readonly repository: string;
  /** The digests of all manifests of the load. */
  readonly manifests: Set<string>;
}

/**
 * Returns when the closure of all roots is still in the store, and stays for long enough to publish them, as does what the
 * repository has to say about them. Throws what
 * `checkClosure` does, also if a part of a sparse index has gone, and `STORE_UNAVAILABLE` if finding everything takes so long
 * that it would have to be found again.
 */
export async function keepClosed(roots: readonly ClosedRoot[], options: KeepClosedOptions): Promise<void> {
  const { store } = options.layout;
  await keepReferrers(options);
  for (let tries = 0; !store.isFresh; tries++) {
    if (tries === maxTries) throw tooSlow(store.url);
    store.renew();
    const found = await checkClosure(roots, { ...options, known: nothing });
    for (const [i, root] of roots.entries()) checkParts(root, found[i]);
    await keepReferrers(options);
  }
}

/** An index may lack what it lacked before, and no more: who loads has been told, or is going to be, what that is. */
function checkParts(before: ClosedRoot, now: ClosedRoot | undefined): void {
  const lacked = new Set(before.absent.map(({ digest }) => digest));
  const lost = now?.absent.find(({ digest }) => !lacked.has(digest));
  if (lost === undefined) return;
  const message = `Cannot publish "${before.digest}": it names "${lost.digest}", which was deleted while the load went on`;
  throw new StowageError("MANIFEST_BLOB_UNKNOWN", message, { detail: { digest: lost.digest } });
}

function tooSlow(url: string): StowageError {
  const message = `Cannot publish: ${url} is too slow to find all blobs of the images before one of them could be deleted`;
  return new StowageError("STORE_UNAVAILABLE", message);
}

// An image that comes back while a gc runs, or after one, brings its referrers back with it. What a repository has to say
// about an image that was gone is condemned: its signatures would be taken out of the index although they are of use again,
// and no load looks at them.

const maxConcurrentRescues = 32;

export interface KeepReferrersOptions extends Turn {
  /** The layout, as the load sees it. */
  readonly layout: Layout<RescuingStore>;
  readonly repository: string;
  /** The digests of the manifests that are about to be published. */
  readonly manifests: ReadonlySet<string>;
}

/**
 * Rescues the referrers that the repository has of these manifests, and theirs. Where a gc has marked nothing, nothing is
 * read.
 */
export async function keepReferrers(options: KeepReferrersOptions): Promise<void> {
  const { layout, repository, manifests, signal } = options;
  const { store } = layout;
  if (!(await store.hasMarks({ signal }))) return;
  const referrers = referrersOf(manifests, await readEntries(layout, repository, options));
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
