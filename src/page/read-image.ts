/** Reads what the page of one image shows: its manifest, its platforms or its config, and what refers to it. */
import type { Digest } from "../digest.ts";
import type { Layout } from "../layout/layout.ts";
import { LayoutSource } from "../layout/layout-source.ts";
import { type RepositoryIndex, changeTimeOf, readRepository } from "../layout/read-repository.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type RunConfig, readRunConfig, summarizeConfig } from "../oci/image-config.ts";
import { endOf, referrersTag, tagOf } from "../oci/index-entry.ts";
import { type Manifest, parseManifest } from "../oci/manifest.ts";
import { type ImageDetails, describeImage, detailsOf, isDamage, readConfig } from "../registry/describe-image.ts";
import { type ManifestName, findInRepository } from "../registry/find-manifest.ts";
import { listReferrers } from "../registry/list-referrers.ts";
import type { Requester } from "../streams/byte-budget.ts";

/** Parts of an index that are read. */
export const maxParts = 32;

/** A larger config is not read. */
const maxConfigBytes = 1024 * 1024;

export interface ImageFacts {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly manifest: Manifest;
  readonly details: ImageDetails;
  /** Of an image for one platform. */
  readonly run: RunConfig | undefined;
  /** Signatures and the like. */
  readonly referrers: readonly Referrer[];
  /** Where the next page of referrers begins. */
  readonly moreReferrers: string | undefined;
  /** Tags of the same image. */
  readonly tags: readonly string[];
  /** When the tag changed last, in milliseconds since 1970. */
  readonly changed: number | undefined;
  /** When the image ends, in milliseconds since 1970. */
  readonly ends: number | undefined;
}

export type Referrer = Pick<Descriptor, "digest" | "size" | "artifactType" | "annotations"> & {
  /** The tag of a signature that Cosign keeps under a tag. */
  readonly tag?: string | undefined;
};

interface WantedImage extends ManifestName {
  /** Where the page of referrers begins. */
  readonly after: string | undefined;
}

/** Tags of the same image that are shown. */
const maxTags = 20;

/** Throws the errors of `findInRepository`, and `NAME_UNKNOWN`. */
export async function readImage(
  layout: Layout,
  { repository, reference, after }: WantedImage,
  requester: Requester,
): Promise<ImageFacts> {
  const index = await readRepository(layout, repository, requester);
  const { digest, mediaType, bytes } = await findInRepository(layout, { repository, reference, index }, requester);
  const manifest = await layout.budget.parse(
    bytes.length,
    async () => parseManifest(bytes, digest, mediaType),
    requester,
  );
  const source = new LayoutSource(layout, { caller: requester.caller });
  const place = { source, signal: requester.signal };
  const options = { maxParts, maxConfigBytes };
  const config =
    manifest.kind === "manifest" ? await ifWhole(readConfig(place, repository, manifest, options)) : undefined;
  const details =
    manifest.kind === "manifest"
      ? detailsOf(manifest, config === undefined ? { history: [] } : summarizeConfig(config))
      : await describeImage(place, repository, { manifest }, options);
  const page = await listReferrers(layout, { repository, subject: digest, after }, requester);
  const entries = index.entries.filter((entry) => entry.digest === digest);
  const named = entries.find((entry) => (tagOf(entry) ?? digest) === reference) ?? entries[0];
  return {
    digest,
    mediaType,
    manifest,
    details,
    run: config && readRunConfig(config),
    referrers: [...page.descriptors, ...(after === undefined ? cosignTags(index, digest) : [])],
    moreReferrers: page.end,
    tags: entries
      .flatMap((entry) => tagOf(entry) ?? [])
      .filter((tag) => tag !== reference)
      .slice(0, maxTags),
    changed: named && changeTimeOf(named),
    ends: named && endOf(named),
  };
}

/** The page of an image whose config is damaged shows all else. */
async function ifWhole(reading: Promise<Uint8Array | undefined>): Promise<Uint8Array | undefined> {
  return reading.catch((error: unknown) => {
    if (isDamage(error)) return undefined;
    throw error;
  });
}

/** At most three for each image are usual. */
const maxCosignTags = 20;

/** Cosign's signatures, attestations and SBOMs under tags such as `sha256-<hex>.sig`. They have no subject. */
function cosignTags({ entries }: RepositoryIndex, digest: Digest): readonly Referrer[] {
  const start = `${referrersTag(digest)}.`;
  const found = entries.filter((entry) => tagOf(entry)?.startsWith(start) === true);
  return found.slice(0, maxCosignTags).map((entry) => ({ digest: entry.digest, size: entry.size, tag: tagOf(entry) }));
}
