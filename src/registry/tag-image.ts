/** Gives an image of a store more names. No byte moves: all repositories share their blobs. */
import { checkClosure } from "../layout/check-closure.ts";
import type { TagConditions } from "../layout/update-repository.ts";
import { RescuingStore } from "../layout/rescuing-store.ts";
import type { Layout } from "../layout/layout.ts";
import { LayoutSource } from "../layout/layout-source.ts";
import { listClosure } from "../layout/list-closure.ts";
import { JsonMemory } from "../layout/json-memory.ts";
import { type NamedImage, changesFor, noKnownBlobs, publish } from "../layout/publish.ts";
import type { Digest } from "../digest.ts";
import type { ManifestIdentity } from "../oci/descriptor.ts";
import type { ChangeOutcome } from "../oci/index-change.ts";
import type { Requester } from "../streams/byte-budget.ts";
import { type ManifestName, findManifest } from "./find-manifest.ts";

export interface NewName {
  readonly repository: string;
  readonly tag: string;
}

/** A name that the image has now. */
export interface TaggedImage extends NewName, ChangeOutcome {
  readonly digest: Digest;
}

/**
 * Yields the new names of each repository after its commit: the image gets all names in one repository, or none.
 * With `referrers`, another repository gets the referrers of the image too. Throws
 * `NAME_UNKNOWN` and `MANIFEST_UNKNOWN` if there is no such image, and the errors of `checkClosure` and `publish`.
 */
export async function* tagImage(
  layout: Layout,
  image: ManifestName,
  names: readonly NewName[],
  { referrers, ...requester }: TagConditions & { readonly referrers: boolean },
): AsyncGenerator<TaggedImage> {
  const { digest, mediaType, bytes } = await findManifest(layout, image, requester);
  const root = { digest, mediaType, size: bytes.length };
  for (const repository of new Set(names.map((name) => name.repository))) {
    const tags = new Set(names.flatMap((name) => (name.repository === repository ? name.tag : [])));
    const isOther = repository !== image.repository;
    const found = referrers && isOther ? await referrersOf(layout, image.repository, root, requester) : [];
    yield* await publishIn(layout, repository, { root, tags: [...tags], referrers: found }, requester);
  }
}

/** The referrers of the image in its repository, such as signatures, and the referrers of those. */
async function referrersOf(
  layout: Layout,
  repository: string,
  root: ManifestIdentity,
  { caller, signal }: Requester,
): Promise<readonly NamedImage[]> {
  const source = new LayoutSource(layout, { caller });
  const closure = await listClosure({ source, repository }, [root], { referrers: true, signal });
  return closure.referrers.map(({ tag, ...referrer }) => ({ ...referrer, tag }));
}

interface Wanted {
  readonly root: ManifestIdentity;
  readonly tags: readonly string[];
  readonly referrers: readonly NamedImage[];
}

/** Publishes images as a load does: everything that they name is looked for once more, and rescued from a gc. */
async function publishIn(
  layout: Layout,
  repository: string,
  { root, tags, referrers }: Wanted,
  { expects, immutableTags, ...requester }: TagConditions,
): Promise<readonly TaggedImage[]> {
  const rescuing = layout.through(new RescuingStore(layout.store, layout.clock));
  const json = new JsonMemory(rescuing, requester);
  try {
    const images = [...tags.map((tag): NamedImage => ({ ...root, tag, expects })), ...referrers];
    const roots = [...new Map(images.map((image) => [image.digest, image])).values()];
    const closure = await checkClosure(rescuing, roots, { json, known: noKnownBlobs });
    const changes = changesFor(images, closure);
    const outcomes = await publish(rescuing, closure, { repository, changes, immutableTags }, json);
    return tags.flatMap((tag, i) => {
      const outcome = outcomes[i];
      return outcome === undefined ? [] : { repository, tag, digest: root.digest, ...outcome };
    });
  } finally {
    json.end();
  }
}
