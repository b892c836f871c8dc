/** A gc may have condemned what a load found in the store long ago: the load finds it once more before it publishes. */
import { StowageError } from "../errors.ts";
import { type ClosedRoot, type Closure, type KnownBlobs, checkClosure } from "../layout/check-closure.ts";
import type { RescuingStore } from "../layout/condemned.ts";
import type { Layout } from "../layout/layout.ts";
import type { ParsedJson } from "../layout/parsed-json.ts";
import { readEntries } from "../layout/read-repository.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { subjectOf } from "../oci/index-entry.ts";
import { concurrently } from "../streams/concurrently.ts";

const maxTries = 3;

/** Nothing is known of the store but what it says now. */
const nothing: KnownBlobs = { sizeOf: () => undefined, manifest: () => undefined };

/**
 * Returns once the closure is still in the store and stays there for long enough to publish it in the repository. The same
 * holds for the referrers that the repository has of its manifests. Throws what `checkClosure` does, also if a part of a
 * sparse index has gone, and `STORE_UNAVAILABLE` if finding everything takes so long that it would have to be found again.
 */
export async function keepClosed(
  layout: Layout<RescuingStore>,
  closure: Closure,
  repository: string,
  json: ParsedJson,
): Promise<void> {
  const { store } = layout;
  const { roots, manifests } = closure;
  await keepReferrers(layout, manifests, repository, json);
  for (let tries = 0; !store.isFresh; tries++) {
    if (tries === maxTries) throw tooSlow(store.url);
    store.renew();
    const found = await checkClosure(layout, roots, { json, known: nothing });
    for (const [i, root] of roots.entries()) checkParts(root, found.roots[i]);
    await keepReferrers(layout, manifests, repository, json);
  }
}

/** An index may lack what it lacked before, and no more: the receipt lists that. */
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

const maxConcurrentRescues = 32;

/**
 * Rescues the referrers that the repository has of these manifests, and their referrers. An image that comes back brings its
 * referrers back: while the image was gone, a gc condemned its signatures, and no load looks at them. Reads nothing if a gc
 * has marked nothing.
 */
async function keepReferrers(
  layout: Layout<RescuingStore>,
  manifests: ReadonlySet<string>,
  repository: string,
  { turn }: ParsedJson,
): Promise<void> {
  const { store } = layout;
  if (!(await store.hasMarks(turn))) return;
  const referrers = referrersOf(manifests, await readEntries(layout, repository, turn));
  await concurrently(referrers, maxConcurrentRescues, async (digest) => store.keep(digest, turn));
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
