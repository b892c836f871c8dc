/** Copies images of a store into several other stores at once: the targets of a service that seeds other regions. */
import { type ErrorCode, StowageError } from "../errors.ts";
import type { CopyEvent } from "../events.ts";
import type { Layout } from "../layout/layout.ts";
import { LayoutSource } from "../layout/layout-source.ts";
import { type ListClosureOptions, PlacesLeft } from "../layout/list-closure.ts";
import { type CopiedImage, type CopyOptions, copyImages } from "./copy-images.ts";
import { type CopyFailure, type CopyPlan, planCopy } from "./plan-copy.ts";
import type { SelectedImage } from "./select-images.ts";
import type { BlobTotals } from "./transfer-blobs.ts";

/** The stores that a service copies to, by their names in the settings. */
export type CopyTargets = ReadonlyMap<string, Layout>;

/** What became of the images in one target. */
export interface TargetReceipt {
  readonly target: string;
  readonly images: readonly CopiedImage[];
  readonly failures: readonly FailedImage[];
  /** Undefined if the target could not be looked at. */
  readonly blobs?: BlobTotals | undefined;
}

export interface FailedImage extends SelectedImage {
  readonly code: ErrorCode;
  readonly message: string;
}

type CopyToTargetsOptions = Pick<ListClosureOptions, "platforms"> &
  Pick<CopyOptions, "immutableTags" | "expires" | "caller" | "signal">;

/**
 * Copies the images, with their referrers, into each target. A target that fails does not stop the others. The targets
 * share the memory of the layout. Throws only the signal's reason.
 */
export async function copyToTargets(
  layout: Layout,
  targets: CopyTargets,
  images: readonly SelectedImage[],
  { platforms, ...options }: CopyToTargetsOptions,
): Promise<readonly TargetReceipt[]> {
  const { caller, signal } = options;
  const planned = new LayoutSource(layout, { caller, keepsIndexes: true });
  const plan = await planCopy(planned, images, { platforms, referrers: true, placesLeft: new PlacesLeft(), signal });
  const source = new LayoutSource(layout, { caller });
  const copyTo = async (target: string, store: Layout): Promise<TargetReceipt> => {
    try {
      const receipt = await copyImages(source, store, plan, { ...options, sourceStore: layout.store });
      return { target, images: receipt.images, failures: receipt.failures.map(failedImage), blobs: receipt.blobs };
    } catch (error) {
      signal.throwIfAborted();
      return { target, images: [], failures: allFailed(plan, error) };
    }
  };
  return Promise.all(Array.from(targets, async ([name, store]) => copyTo(name, store)));
}

function failedImage({ repository, reference, error: { code, message } }: CopyFailure): FailedImage {
  return { repository, reference, code, message };
}

function allFailed({ images, failures }: CopyPlan, error: unknown): readonly FailedImage[] {
  const code = error instanceof StowageError ? error.code : "STORE_UNAVAILABLE";
  const message = error instanceof StowageError ? error.message : "The service failed; its log says why";
  const stopped = images.map(({ repository, reference }) => ({ repository, reference, code, message }));
  return [...failures.map(failedImage), ...stopped];
}

/** Throws `COPY_FAILED` unless all targets have all images. `detail` is the receipt for the client. */
export function checkCopies(copies: readonly TargetReceipt[], detail: Readonly<Record<string, unknown>>): void {
  const failed = copies.filter(({ failures }) => failures.length > 0);
  if (failed.length === 0) return;
  const reasons = failed.map(({ target, failures: [first] }) => `${target} (${first?.message})`);
  const message = `Cannot copy all images to ${reasons.join(", ")}; send the request again to go on`;
  throw new StowageError("COPY_FAILED", message, { detail });
}

/** The event of a copy. `by` says who began it. */
export function copyEvent(copies: readonly TargetReceipt[], by: Pick<CopyEvent, "id" | "caller">): CopyEvent {
  const targets = copies.map(({ target, images, failures, blobs }) => ({
    target,
    images: images.length,
    bytes: blobs?.copied.bytes,
    failures: failures.map(({ code }) => code),
  }));
  return { event: "copy", ...by, targets };
}
