/** Tells a person what a load has done. */
import type { BlobReceipt, BlobStatus, ImageReceipt, Receipt } from "../load/receipt.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { platformOf } from "../oci/platform.ts";
import { formatReference } from "../oci/reference.ts";
import { formatBytes, formatCount, formatSeconds } from "./format.ts";

/** Of a list that may be long, so many items are shown. */
const maxShown = 5;

export interface DescribeOptions {
  readonly seconds: number;
  /** Where clients find the images: host and port. */
  readonly registry?: string | undefined;
}

/**
 *     team/app:1.4  created
 *       digest  sha256:…
 *       pull    docker pull 127.0.0.1:8080/team/app:1.4
 *     3 blobs written (37.2 MiB), 1 already there (2.10 KiB)
 *     Read 37.3 MiB in 1.2 s
 */
export function describeReceipt(receipt: Receipt, options: DescribeOptions): string {
  const { images, blobs, ignored, bytes } = receipt;
  const lines = images.flatMap((image) => imageLines(image, options));
  lines.push(blobLine(blobs));
  if (ignored.length > 0) {
    lines.push(`Ignored ${shortList(ignored.map(({ path }) => JSON.stringify(path)))}: not needed by any image`);
  }
  lines.push(`Read ${formatBytes(bytes.received)} in ${formatSeconds(options.seconds)}`);
  return `${lines.join("\n")}\n`;
}

function imageLines(image: ImageReceipt, { registry }: DescribeOptions): string[] {
  const { repository, reference, digest, status, previous, absent = [], unusableTag } = image;
  const name = formatReference(repository, reference);
  const lines = [`${name}  ${status}`];
  if (previous !== undefined) lines.push(`  before  ${previous}`);
  if (digest !== reference) lines.push(`  digest  ${digest}`);
  if (unusableTag !== undefined) lines.push(`  no tag  ${JSON.stringify(unusableTag)} cannot be one`);
  if (absent.length > 0) lines.push(`  absent  ${shortList(absent.map(nameOfPart))}`);
  if (registry !== undefined) lines.push(`  pull    docker pull ${registry}/${name}`);
  return lines;
}

function blobLine(blobs: readonly BlobReceipt[]): string {
  const counted = (status: BlobStatus, text: string): string => {
    const some = blobs.filter((blob) => blob.status === status);
    if (some.length === 0) return "";
    return `${some.length} ${text} (${formatBytes(some.reduce((sum, { size }) => sum + size, 0))})`;
  };
  const parts = [
    counted("written", "written"),
    counted("present", "already there"),
    counted("repaired", "repaired: the store had wrong bytes"),
  ];
  const found = parts.filter((part) => part !== "");
  return found.length === 0 ? "No blobs in the archive, all were there" : `Blobs: ${found.join(", ")}`;
}

/** Its platform, where the descriptor says so. */
function nameOfPart({ platform, digest }: Descriptor): string {
  return platformOf(platform) ?? digest;
}

function shortList(items: readonly string[]): string {
  const rest = items.length - maxShown;
  const shown = items.slice(0, maxShown).join(", ");
  return rest > 0 ? `${shown} and ${formatCount(rest, "other")}` : shown;
}
