/**
 * Publishes images whose closures were checked, in one repository. If much time has passed since the check, all blobs
 * are found again first: a gc may have condemned one of them meanwhile.
 */
import type { Digest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { type CheckedRoot, type CheckedClosure, checkClosure } from "./check-closure.ts";
import type { KnownBlobs } from "./find-named.ts";
import type { RescuingStore } from "./rescuing-store.ts";
import type { Layout } from "./layout.ts";
import { type RepositoryUpdate, updateRepository } from "./update-repository.ts";
import type { JsonMemory } from "./json-memory.ts";
import { readEntries } from "./read-repository.ts";
import type { Descriptor, ManifestIdentity } from "../oci/descriptor.ts";
import type { ChangeOutcome, Expectation, SetChange } from "../oci/index-change.ts";
import { subjectOf } from "../oci/index-entry.ts";
import { concurrently } from "../streams/concurrently.ts";

/** No blob is known: the check asks the store for each one. */
export const noKnownBlobs: KnownBlobs = { sizeOf: () => undefined, manifest: () => undefined };

/** An image, and the name that it gets. */
export interface NamedImage extends ManifestIdentity {
  readonly tag: string | undefined;
  /** The end of the image: see `SetChange`. */
  readonly expires?: string | undefined;
  /** The digest that the tag must have before it moves, or `absent`. */
  readonly expects?: Expectation | undefined;
}

/**
 * Returns a change for each image, in their order. Then returns one for each of their referrers that is no image
 * itself.
 */
export function changesFor(images: readonly NamedImage[], { referrers }: CheckedClosure): SetChange[] {
  const changes = images.map(({ tag, mediaType, digest, size, expires, expects }): SetChange => {
    const { subject, artifactType } = referrers.get(digest) ?? {};
    return { op: "set", tag, mediaType, digest, size, artifactType, subject, expires, expects };
  });
  const below = referrers.below(images.map(({ digest }) => digest));
  return [...changes, ...Array.from(below, (referrer): SetChange => ({ op: "set", ...referrer }))];
}

/**
 * Publishes all images of one repository in one conditional write. Throws the errors of `checkClosure` and of
 * `updateRepository`, and `STORE_UNAVAILABLE` if the store is so slow that the blobs would have to be found again and
 * again.
 */
export async function publish(
  layout: Layout<RescuingStore>,
  closure: CheckedClosure,
  update: RepositoryUpdate,
  json: JsonMemory,
): Promise<readonly ChangeOutcome[]> {
  await keepClosure(layout, closure, update.repository, json);
  // For the last time: a commit is never cut short, so that the client learns its outcome.
  json.requester.signal?.throwIfAborted();
  return updateRepository(layout, update, json.requester);
}

const maxTries = 3;

/**
 * Makes sure that two things stay in the store until they are published: the closure, and the referrers that the
 * repository lists for the closure's manifests. Throws the errors of `checkClosure`, also if a sparse index has lost
 * another part. Throws `STORE_UNAVAILABLE` if the store is so slow that the blobs would have to be found again and
 * again.
 */
async function keepClosure(
  layout: Layout<RescuingStore>,
  closure: CheckedClosure,
  repository: string,
  json: JsonMemory,
): Promise<void> {
  const { store } = layout;
  const { roots, manifests } = closure;
  await keepReferrers(layout, manifests, repository, json);
  for (let tries = 0; !store.isFresh; tries++) {
    if (tries === maxTries) throw tooSlow(store.url);
    store.renew();
    const found = await checkClosure(layout, roots, { json, known: noKnownBlobs });
    for (const [i, root] of roots.entries()) checkParts(root, found.roots[i]);
    await keepReferrers(layout, manifests, repository, json);
  }
}

/** An index may lack only what it lacked before: the receipt lists these manifests. */
function checkParts(before: CheckedRoot, now: CheckedRoot | undefined): void {
  const lacked = new Set(before.absent.map(({ digest }) => digest));
  const lost = now?.absent.find(({ digest }) => !lacked.has(digest));
  if (lost === undefined) return;
  const message = `Cannot publish "${before.digest}": it names "${lost.digest}", which was deleted meanwhile`;
  throw new StowageError("MANIFEST_BLOB_UNKNOWN", message, { detail: { digest: lost.digest } });
}

function tooSlow(url: string): StowageError {
  const message = `Cannot publish: ${url} is too slow to find all blobs of the images before one of them could be deleted`;
  return new StowageError("STORE_UNAVAILABLE", message);
}

const maxConcurrentRescues = 32;

/**
 * Rescues the referrers that the repository has of these manifests, and the referrers of those referrers. Example: an
 * image was removed, and a gc condemned its signatures. A load that brings the image back does not look at the
 * signatures, so they are rescued here. Reads no index if the store has no marks.
 */
async function keepReferrers(
  layout: Layout<RescuingStore>,
  manifests: ReadonlySet<Digest>,
  repository: string,
  { requester }: JsonMemory,
): Promise<void> {
  const { store } = layout;
  if (!(await store.hasMarks(requester))) return;
  const referrers = referrersOf(manifests, await readEntries(layout, repository, requester));
  await concurrently(referrers, maxConcurrentRescues, async (digest) => store.rescue(digest, requester));
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
