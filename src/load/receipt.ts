/** The receipt: the answer of a load. */
import type { Digest } from "../digest.ts";
import type { LoadEvent } from "../events.ts";
import type { BlobStatus } from "../layout/write-blob.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { ChangeOutcome } from "../oci/index-change.ts";
import type { RequestCounts } from "../storage/counting-store.ts";

/** The outcome of a load. `/v1/load` answers with a part of it, and with `?verbose=true` with all of it. */
export interface Receipt {
  readonly images: readonly ImageReceipt[];
  readonly totals: {
    readonly images: number;
    /**
     * The number of the images' referrers, such as signatures, that the load has added to the index of a repository.
     */
    readonly referrers: number;
    readonly written: number;
    readonly present: number;
    readonly repaired: number;
    readonly ignored: number;
  };
  /** Each blob of the archive once, in the archive's order. A load makes the list each time it is asked for. */
  readonly blobs: readonly BlobReceipt[];
  readonly ignored: readonly IgnoredEntry[];
  readonly bytes: {
    /** Bytes of the body as received, compressed or not. */
    readonly received: number;
    /** Bytes of the blobs that were written. */
    readonly written: number;
    /** Bytes of the blobs that were there already. */
    readonly present: number;
    /** Bytes of the blobs that have replaced damaged objects. */
    readonly repaired: number;
  };
  /** The requests that the load has made to the store. */
  readonly requests: RequestCounts;
}

/** An image under its new name. */
export interface ImageReceipt extends ChangeOutcome {
  readonly repository: string;
  /** The tag, or the digest if the image has no tag. */
  readonly reference: string;
  readonly digest: Digest;
  readonly mediaType: string;
  /** Length of the manifest in bytes. */
  readonly size: number;
  /** The end of the image, such as `2026-12-03T12:00:00.000Z`. The next gc after it drops the image. */
  readonly expires?: string;
  /** The manifests that an index names and that neither the archive nor the store has: those of other platforms. */
  readonly absent?: readonly Descriptor[];
  /** A tag in the archive that no registry takes, such as `v1.0+build`: the image is found by its digest. */
  readonly unusableTag?: string;
}

/** The outcome for a blob: a layer, a config or a manifest. */
export interface BlobReceipt {
  readonly digest: Digest;
  /** Length in bytes. */
  readonly size: number;
  readonly status: BlobStatus;
}

/** The most ignored entries that a receipt lists. */
export const maxIgnoredEntries = 1000;

/** An entry of the archive that no image needs. The receipt lists the first 1000. */
export interface IgnoredEntry {
  readonly path: string;
  readonly reason: string;
}

/** Did the load change anything in the store? */
export function hasChanges({ images, totals }: Receipt): boolean {
  const { referrers, written, repaired } = totals;
  return images.some(({ status }) => status !== "unchanged") || referrers + written + repaired > 0;
}

/** The most images that an event names. */
const maxNamed = 10;

/** The event of a load. `by` says who began it. */
export function loadEvent({ images, bytes }: Receipt, by: Pick<LoadEvent, "id" | "caller" | "key">): LoadEvent {
  const named = images.slice(0, maxNamed).map(({ repository, reference, digest, status }) => ({
    repository,
    reference,
    digest,
    status,
  }));
  return { event: "load", ...by, images: named, imageCount: images.length, bytes };
}
