/** Finds the blobs of a long load again before it publishes: a gc may have condemned a blob since the load found it. */
import type { Digest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { type ClosedRoot, type Closure, checkClosure } from "../layout/check-closure.ts";
import type { KnownBlobs } from "../layout/find-named.ts";
import type { RescuingStore } from "../layout/condemned.ts";
import type { Layout } from "../layout/layout.ts";
import type { ParsedJson } from "../layout/parsed-json.ts";
import { readEntries } from "../layout/read-repository.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { subjectOf } from "../oci/index-entry.ts";
import { concurrently } from "../streams/concurrently.ts";

const maxTries = 3;

/** No blob is known: the check asks the store for each one. */
const nothing: KnownBlobs = { sizeOf: () => undefined, manifest: () => undefined };

/**
 * Makes sure that the closure stays in the store long enough to be published in the repository. Does the same for the referrers
 * that the repository has of the closure's manifests. Throws the errors of `checkClosure`, also if a sparse index has lost
 * another part. Throws `STORE_UNAVAILABLE` if the store is so slow that the blobs would have to be found again and again.
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

/** An index may lack only what it lacked before: the receipt lists these manifests. */
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
 * Rescues the referrers that the repository has of these manifests, and the referrers of those referrers. Example: an image was
 * removed, and a gc condemned its signatures. A load that brings the image back does not look at the signatures, so they are
 * rescued here. Reads no index if the store has no marks.
 */
async function keepReferrers(
  layout: Layout<RescuingStore>,
  manifests: ReadonlySet<Digest>,
  repository: string,
  { turn }: ParsedJson,
): Promise<void> {
  const { store } = layout;
  if (!(await store.hasMarks(turn))) return;
  const referrers = referrersOf(manifests, await readEntries(layout, repository, turn));
  await concurrently(referrers, maxConcurrentRescues, async (digest) => store.keep(digest, turn));
}

/** Returns the referrers of the manifests, and the referrers of those referrers. */
function referrersOf(manifests: ReadonlySet<Digest>, entries: readonly Descriptor[]): readonly Digest[] {
  const bySubject = new Map<Digest, Digest[]>();
  for (const entry of entries) {
    const subject = subjectOf(entry);
    if (subject !== undefined) bySubject.set(subject, [...(bySubject.get(subject) ?? []), entry.digest]);
  }
  const found = new Set(manifests); // grows during the loop
  for (const subject of found) for (const digest of bySubject.get(subject) ?? []) found.add(digest);
  return [...found].filter((digest) => !manifests.has(digest));
}
