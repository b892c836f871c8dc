/**
 * Finds the images among the roots of an `index.json`, which are its descriptors. A root of an unknown media type is no
 * error (image specification, "Image Index": "MUST NOT generate an error"). If the bytes of such a root are no
 * manifest, the root is not published, and the receipt lists it as ignored.
 */
import { pathUnder } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { readSmallBlob } from "../layout/blobs.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { isManifestOrFormer, parseManifest } from "../oci/manifest.ts";
import type { RunningLoad } from "./running-load.ts";
import type { IgnoredEntry } from "./receipt.ts";

interface ImageRoots {
  readonly roots: readonly Descriptor[];
  /** The other roots, as the receipt lists them. */
  readonly ignored: readonly IgnoredEntry[];
}

/** Throws `INDEX_INVALID` if no root is an image. */
export async function imageRootsOf(load: RunningLoad, listed: readonly Descriptor[]): Promise<ImageRoots> {
  const roots: Descriptor[] = [];
  const ignored: IgnoredEntry[] = [];
  const found = new Map<string, boolean>(); // an index.json can name the same bytes ten thousand times
  for (const root of listed) {
    const isKnown = isManifestOrFormer(root.mediaType);
    if (!isKnown && !found.has(root.digest)) found.set(root.digest, await isManifest(load, root));
    if (isKnown || found.get(root.digest) === true) roots.push(root);
    else ignored.push(ignore(load, root));
  }
  if (roots.length > 0) return { roots, ignored };
  const types = [...new Set(listed.map(({ mediaType }) => JSON.stringify(mediaType)))].slice(0, 10).join(", ");
  const message = `Cannot load the archive: its index.json names no image, found ${types}`;
  throw new StowageError("INDEX_INVALID", message);
}

async function isManifest(
  { layout, signal, json, intake }: RunningLoad,
  { digest, size }: Descriptor,
): Promise<boolean> {
  if (size > layout.limits.maxManifestBytes) return false;
  try {
    return await json.parse(size, async () => {
      const bytes = intake.manifest(digest) ?? (await readSmallBlob(layout.store, digest, { maxBytes: size, signal }));
      if (bytes !== undefined) parseManifest(bytes, digest);
      return bytes !== undefined;
    });
  } catch (error) {
    if (error instanceof StowageError && notManifest.has(error.code)) return false;
    throw error;
  }
}

const notManifest: ReadonlySet<string> = new Set([
  "MANIFEST_INVALID",
  "DIGEST_INVALID",
  "SIZE_INVALID",
  "LIMIT_EXCEEDED",
]);

function ignore({ intake }: RunningLoad, { mediaType, digest }: Descriptor): IgnoredEntry {
  const path = pathUnder("blobs/", digest);
  const what = `a root of the media type ${JSON.stringify(mediaType.slice(0, 200))}, which is no image`;
  const isThere = intake.sizeOf(digest) !== undefined;
  return { path, reason: isThere ? `${what}: kept as a blob` : `${what}, and not in the archive` };
}
