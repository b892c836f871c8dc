/** Gives an image of a store more names. No byte moves: all repositories share their blobs. */
import { checkClosure } from "../layout/check-closure.ts";
import type { TagTurn } from "../layout/commit-set.ts";
import { RescuingStore } from "../layout/condemned.ts";
import type { Layout, Turn } from "../layout/layout.ts";
import { LayoutSource } from "../layout/layout-source.ts";
import { listClosure } from "../layout/list-closure.ts";
import { ParsedJson } from "../layout/parsed-json.ts";
import { type NamedImage, changesFor, nothing, publish } from "../layout/publish.ts";
import type { Digest } from "../digest.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { ChangeOutcome } from "../oci/index-change.ts";
import { tagPatternsOf } from "../oci/tag-pattern.ts";
import { type ManifestName, findManifest } from "./find-manifest.ts";

export interface NewName {
  readonly repository: string;
  readonly tag: string;
}

/** A name that the image has now. */
export interface TaggedImage extends NewName, ChangeOutcome {
  readonly digest: Digest;
}

type Root = Pick<Descriptor, "mediaType" | "digest" | "size">;

/**
 * Yields the new names of each repository after its commit: the image gets all names in one repository, or none.
 * With `referrers`, another repository gets the referrers of the image too. Throws
 * `NAME_UNKNOWN` and `MANIFEST_UNKNOWN` if there is no such image, and the errors of `checkClosure` and `publish`.
 */
export async function* tagImage(
  layout: Layout,
  image: ManifestName,
  names: readonly NewName[],
  { referrers, ...turn }: TagTurn & { readonly referrers: boolean },
): AsyncGenerator<TaggedImage> {
  const { digest, mediaType, bytes } = await findManifest(layout, image, turn);
  const root = { digest, mediaType, size: bytes.length };
  for (const repository of new Set(names.map((name) => name.repository))) {
    const tags = new Set(names.flatMap((name) => (name.repository === repository ? name.tag : [])));
    const isOther = repository !== image.repository;
    const found = referrers && isOther ? await referrersOf(layout, image.repository, root, turn) : [];
    yield* await publishIn(layout, repository, { root, tags: [...tags], referrers: found }, turn);
  }
}

/** The referrers of the image in its repository, such as signatures, and the referrers of those. */
async function referrersOf(
  layout: Layout,
  repository: string,
  root: Root,
  { caller, signal = AbortSignal.any([]) }: Turn,
): Promise<readonly NamedImage[]> {
  const source = new LayoutSource(layout, { caller });
  const closure = await listClosure({ source, repository }, [root], { platforms: [], referrers: true, signal });
  return closure.referrers.map(({ tag, ...referrer }) => ({ ...referrer, tag }));
}

interface Wanted {
  readonly root: Root;
  readonly tags: readonly string[];
  readonly referrers: readonly NamedImage[];
}

/** Publishes images as a load does: everything that they name is looked for once more, and rescued from a gc. */
async function publishIn(
  layout: Layout,
  repository: string,
  { root, tags, referrers }: Wanted,
  { expects, immutableTags = [], ...turn }: TagTurn,
): Promise<readonly TaggedImage[]> {
  const rescuing = layout.through(new RescuingStore(layout.store, layout.clock));
  const json = new ParsedJson(rescuing, turn);
  try {
    const images = [...tags.map((tag): NamedImage => ({ ...root, tag, expects })), ...referrers];
    const roots = [...new Map(images.map((image) => [image.digest, image])).values()];
    const closure = await checkClosure(rescuing, roots, { json, known: nothing });
    const changes = changesFor(images, closure);
    const set = { repository, changes, immutableTags: tagPatternsOf(immutableTags, repository) };
    const outcomes = await publish(rescuing, closure, set, json);
    return tags.flatMap((tag, i) => {
      const outcome = outcomes[i];
      return outcome === undefined ? [] : { repository, tag, digest: root.digest, ...outcome };
    });
  } finally {
    json.end();
  }
}
