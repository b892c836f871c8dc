/** Finds out what a copy has to move: the closures of all images, and the blobs that the target lacks. */
import type { Digest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { type ListedBlob, headBlob, listBlobs } from "../layout/blobs.ts";
import type { RescuingStore } from "../layout/rescuing-store.ts";
import { type ListClosureOptions, type ListedClosure, listClosure } from "../layout/list-closure.ts";
import type { ManifestIdentity } from "../oci/descriptor.ts";
import { formatReference } from "../oci/reference.ts";
import type { ImageSource } from "../remote/image-source.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { concurrently } from "../streams/concurrently.ts";
import type { SelectedImage } from "./select-images.ts";

/** Images whose closures are listed at the same time. */
const maxConcurrentImages = 8;
/** Blobs that are asked for at the same time. */
const maxConcurrentHeads = 32;
/** Up to this many blobs are asked for one by one. For more blobs, the store is listed. */
const maxHeads = 64;
/** The listing is given up after this many unwanted objects for each wanted blob: HEADs are faster then. */
const listedForEach = 64;

/** An image with everything below it. */
export interface PlannedImage extends SelectedImage {
  readonly root: ManifestIdentity;
  readonly closure: ListedClosure;
}

/** An image that could not be copied. */
export interface CopyFailure extends SelectedImage {
  readonly error: StowageError;
}

export interface CopyPlan {
  readonly images: readonly PlannedImage[];
  readonly failures: readonly CopyFailure[];
}

/** Lists the closures of the images. An image that cannot be read does not stop the others. */
export async function planCopy(
  source: ImageSource,
  selected: readonly SelectedImage[],
  options: ListClosureOptions,
): Promise<CopyPlan> {
  const { signal } = options;
  const images: (PlannedImage | CopyFailure)[] = [];
  const closures = new Map<string, Promise<ListedClosure>>(); // many tags can name one image
  await concurrently(selected.entries(), maxConcurrentImages, async ([i, image]) => {
    const { repository, reference } = image;
    try {
      const root = image.root ?? (await source.headManifest(repository, reference, { signal }));
      if (root === undefined) throw notThere(image, source);
      const name = `${repository} ${root.digest}`;
      const listing = closures.get(name) ?? listClosure({ source, repository }, [root], options);
      closures.set(name, listing);
      const closure = await listing;
      const { digest, mediaType, size } = closure.manifests.get(root.digest) ?? root; // as read, not as a registry says
      images[i] = { ...image, root: { digest, mediaType, size }, closure };
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof StowageError)) throw error;
      images[i] = { ...image, error };
    }
  });
  return {
    images: images.flatMap((image) => ("closure" in image ? image : [])),
    failures: images.flatMap((image) => ("error" in image ? image : [])),
  };
}

function notThere({ repository, reference }: SelectedImage, { name }: ImageSource): StowageError {
  const message = `Cannot find "${formatReference(repository, reference)}" in ${name}`;
  return new StowageError("MANIFEST_UNKNOWN", message, { detail: { name: repository, reference } });
}

/** The sizes in bytes of all manifests and blobs of the images, by digest. */
export function sizesOf(images: readonly PlannedImage[]): Map<Digest, number> {
  const sizes = new Map<Digest, number>();
  for (const { closure } of images) {
    for (const manifest of closure.manifests.values()) {
      sizes.set(manifest.digest, manifest.size);
      for (const { digest, size } of manifest.blobs) sizes.set(digest, size);
    }
  }
  return sizes;
}

/** Where blobs are looked for. */
export interface Lookup {
  readonly store: ObjectStore;
  /** Rescues the blobs that are found. Undefined for a dry run, which changes nothing. */
  readonly rescuing: RescuingStore | undefined;
  readonly signal: AbortSignal;
}

/**
 * Returns the wanted blobs that the store has, with the wanted size. The look at the marks of gc comes before the
 * listing. A listed blob with a mark may be deleted at any moment, so it is asked for: that rescues it.
 */
export async function findPresent(
  wanted: ReadonlyMap<Digest, number>,
  { store, rescuing, signal }: Lookup,
): Promise<Set<Digest>> {
  const present = new Set<Digest>();
  const marked: Digest[] = [];
  await rescuing?.hasMarks({ signal });
  const isListed = await listWanted(wanted, { store, signal }, async ({ digest }) => {
    if ((await rescuing?.isMarked(digest, { signal })) === true) marked.push(digest);
    else present.add(digest);
  });
  const doubtful = isListed ? marked : [...wanted.keys()].filter((digest) => !present.has(digest));
  await concurrently(doubtful, maxConcurrentHeads, async (digest) => {
    const found = await headBlob(rescuing ?? store, digest, { signal });
    if (found !== undefined && found.size === wanted.get(digest)) present.add(digest);
  });
  return present;
}

/**
 * Returns the ETags of blobs that the store of the source is going to copy: one listing instead of a HEAD for each. A
 * blob without an ETag has to be asked for.
 */
export async function findEtags(
  wanted: ReadonlyMap<Digest, number>,
  lookup: Omit<Lookup, "rescuing">,
): Promise<ReadonlyMap<Digest, string>> {
  const etags = new Map<Digest, string>();
  await listWanted(wanted, lookup, ({ digest, etag }) => void etags.set(digest, etag));
  return etags;
}

/** Calls `onFound` for each wanted blob of the wanted size. Returns false if the store was not listed to its end. */
async function listWanted(
  wanted: ReadonlyMap<Digest, number>,
  { store, signal }: Omit<Lookup, "rescuing">,
  onFound: (blob: ListedBlob) => Promise<void> | void,
): Promise<boolean> {
  if (wanted.size <= maxHeads) return false;
  let others = 0;
  for await (const blob of listBlobs(store, { signal })) {
    if (wanted.get(blob.digest) === blob.size) await onFound(blob);
    else others++;
    if (others > listedForEach * wanted.size) return false;
  }
  return true;
}
