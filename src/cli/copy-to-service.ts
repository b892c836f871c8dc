/** `stowage copy` into a running service: each image is sent as a tarball without the blobs that the service has. */
import type { CopiedImage, CopyReceipt } from "../copy/copy-images.ts";
import { checkCopies } from "../copy/copy-to-targets.ts";
import { type CopyFailure, type CopyPlan, type PlannedImage, sizesOf } from "../copy/plan-copy.ts";
import { StowageError } from "../errors.ts";
import { openFrom, packArchive } from "../export/pack-archive.ts";
import { planFiles, withoutBlobs } from "../export/plan-export.ts";
import { type ImageName, formatReference, parseName } from "../oci/reference.ts";
import type { ImageSource } from "../remote/image-source.ts";
import type { CommandIo } from "./command.ts";
import type { ServiceReceipt } from "./describe-receipt.ts";
import { askMissing } from "./send/ask-missing.ts";
import { sendArchive } from "./send/send-archive.ts";
import type { ServiceClient } from "./send/service-client.ts";

export interface CopyToServiceOptions {
  readonly service: ServiceClient;
  /** The name that the only image gets: by default the source's. */
  readonly as: ImageName | undefined;
  readonly io: CommandIo;
}

/**
 * Sends one image after the other. An image that fails does not stop the others. A large tarball is kept in a temporary
 * file, so that a part of it can be sent again.
 */
export async function copyToService(
  source: ImageSource,
  { images, failures: unread }: CopyPlan,
  options: CopyToServiceOptions,
): Promise<CopyReceipt> {
  const { signal } = options.io;
  const copied: CopiedImage[] = [];
  const failures: CopyFailure[] = [...unread];
  let sent = nothing;
  for (const image of images) {
    try {
      const receipt = await sendImage(source, image, options);
      copied.push(...receipt.images.filter(({ digest }) => digest === image.root.digest));
      const { totals, bytes, copies = [] } = receipt;
      sent = { blobs: sent.blobs + totals.written + totals.repaired, bytes: sent.bytes + bytes.written };
      checkCopies(copies, {}); // the service has targets of its own
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StowageError)) throw error;
      const { repository, reference } = image;
      failures.push({ repository, reference, error });
    }
  }
  const sizes = [...sizesOf(images).values()];
  const total = { blobs: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) };
  const present = { blobs: Math.max(0, total.blobs - sent.blobs), bytes: Math.max(0, total.bytes - sent.bytes) };
  return { images: copied, failures, blobs: { total, present, copied: sent, copiedByStore: nothing } };
}

async function sendImage(
  source: ImageSource,
  image: PlannedImage,
  options: CopyToServiceOptions,
): Promise<ServiceReceipt> {
  const { service, as, io } = options;
  const { repository, reference, root, closure } = image;
  const name = as ?? parseName(formatReference(repository, reference));
  const whole = planFiles([{ repository, images: [{ ...root, repository, name }], closure }]);
  const digests = [...sizesOf([image]).keys()];
  const missing = await askMissing(digests, { service, signal: io.signal });
  const plan = withoutBlobs(whole, (digest) => !missing.digests.has(digest));
  const input = {
    name: formatReference(repository, reference),
    source: packArchive(plan, openFrom(source, io.signal)),
    size: plan.size,
    file: undefined,
    close: async () => undefined,
  };
  return sendArchive(input, { service, name: undefined, io });
}

const nothing = { blobs: 0, bytes: 0 };
