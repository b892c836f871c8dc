/** Describes the receipt of a load to a person, and reads the receipt of a service. */
import type { TargetReceipt } from "../copy/copy-to-targets.ts";
import type { BlobStatus } from "../layout/write-blob.ts";
import type { ImageReceipt, Receipt } from "../load/receipt.ts";
import { type Descriptor, platformOf } from "../oci/descriptor.ts";
import { isJsonObject } from "../oci/json.ts";
import { formatReference } from "../oci/reference.ts";
import { formatBytes, formatCount, formatSeconds } from "./format.ts";

const blobStatuses: readonly BlobStatus[] = ["written", "present", "repaired"];
/** Items of a long list that are shown. */
const maxShown = 5;

/** The receipt of a load. If a service has copied the images to other stores, the receipt has a part for each store. */
export interface ServiceReceipt extends Receipt {
  readonly copies?: readonly TargetReceipt[];
}

/**
 *     team/app:1.4  created
 *       digest  sha256:…
 *       pull    docker pull 127.0.0.1:8080/team/app:1.4
 *     3 blobs written (37.2 MiB), 1 already there (2.10 KiB)
 *     us: copied 1 image, 0 unchanged: 4 blobs with 37.2 MiB, 0 bytes there already
 *     Read 37.3 MiB in 1.2 s
 *
 * `registry` is the host and port from which clients can pull.
 */
export function describeReceipt(receipt: ServiceReceipt, seconds: number, registry?: string): string {
  const { images, totals, ignored, bytes, copies = [] } = receipt;
  const lines = images.flatMap((image) => imageLines(image, registry));
  lines.push(blobLine(receipt));
  if (totals.referrers > 0)
    lines.push(`Added ${formatCount(totals.referrers, "referrer")} of these images to the index`);
  if (ignored.length > 0) {
    lines.push(`Ignored ${shortList(ignored.map(({ path }) => JSON.stringify(path)))}: not needed by any image`);
  }
  lines.push(...copies.map(copyLine));
  lines.push(`Read ${formatBytes(bytes.received)} in ${formatSeconds(seconds)}`);
  return `${lines.join("\n")}\n`;
}

function imageLines(image: ImageReceipt, registry: string | undefined): string[] {
  const { repository, reference, digest, status, previous, expires, absent = [], unusableTag } = image;
  const name = formatReference(repository, reference);
  const lines = [`${name}  ${status}`];
  if (previous !== undefined) lines.push(`  before  ${previous}`);
  if (digest !== reference) lines.push(`  digest  ${digest}`);
  if (expires !== undefined) lines.push(`  ends    ${expires}`);
  if (unusableTag !== undefined) lines.push(`  no tag  ${JSON.stringify(unusableTag)} cannot be one`);
  if (absent.length > 0) lines.push(`  absent  ${shortList(absent.map(nameOfPart))}`);
  if (registry !== undefined) lines.push(`  pull    docker pull ${registry}/${name}`);
  return lines;
}

function blobLine({ totals, bytes }: Receipt): string {
  const counted = (status: BlobStatus, text: string): string =>
    totals[status] === 0 ? "" : `${totals[status]} ${text} (${formatBytes(bytes[status])})`;
  const parts = [
    counted("written", "written"),
    counted("present", "already there"),
    counted("repaired", "repaired: the store had wrong bytes"),
  ];
  const found = parts.filter((part) => part !== "");
  return found.length === 0 ? "No blobs in the archive, all were there" : `Blobs: ${found.join(", ")}`;
}

function copyLine({ target, images, failures, blobs }: TargetReceipt): string {
  const changed = images.filter(({ status }) => status !== "unchanged").length;
  const failed = failures.length === 0 ? "" : `, ${formatCount(failures.length, "image")} failed`;
  const line = `${target}: copied ${formatCount(changed, "image")}, ${images.length - changed} unchanged${failed}`;
  if (blobs === undefined) return line;
  const { copied, present } = blobs;
  const moved = `${formatCount(copied.blobs, "blob")} with ${formatBytes(copied.bytes)}`;
  return `${line}: ${moved}, ${formatBytes(present.bytes)} there already`;
}

/** A line for each image that a target lacks. */
export function describeFailedCopies({ copies = [] }: ServiceReceipt): readonly string[] {
  return copies.flatMap(({ target, failures }) =>
    failures.map(({ repository, reference, code, message }) => {
      return `Cannot copy ${formatReference(repository, reference)} to ${target}: ${code}: ${message}`;
    }),
  );
}

/** The platform, if the descriptor has one. */
function nameOfPart({ platform, digest }: Descriptor): string {
  return platformOf(platform) ?? digest;
}

function shortList(items: readonly string[]): string {
  const rest = items.length - maxShown;
  const shown = items.slice(0, maxShown).join(", ");
  return rest > 0 ? `${shown} and ${formatCount(rest, "other")}` : shown;
}

/** The receipt that a service has sent. Other fields are kept. Undefined if the JSON is not a receipt. */
export function parseReceipt(json: unknown): ServiceReceipt | undefined {
  return isReceipt(json) ? json : undefined;
}

function isReceipt(json: unknown): json is ServiceReceipt {
  return (
    isJsonObject(json) &&
    (json["copies"] === undefined || isListOf(json["copies"], isCopy)) &&
    isListOf(json["images"], isImage) &&
    isListOf(json["blobs"], isBlob) &&
    isListOf(json["ignored"], (entry) => hasStrings(entry, ["path", "reason"])) &&
    hasNumbers(json["totals"], ["referrers", ...blobStatuses]) &&
    hasNumbers(json["bytes"], ["received", ...blobStatuses]) &&
    isJsonObject(json["requests"])
  );
}

function isImage(value: unknown): boolean {
  if (!isJsonObject(value)) return false;
  const { absent } = value;
  return (
    hasStrings(value, ["repository", "reference", "digest", "mediaType", "status"]) &&
    (absent === undefined || isListOf(absent, (descriptor) => hasStrings(descriptor, ["digest"])))
  );
}

function isCopy(value: unknown): boolean {
  if (!hasStrings(value, ["target"]) || !isJsonObject(value)) return false;
  const { images, failures, blobs } = value;
  return (
    isListOf(images, (image) => hasStrings(image, ["repository", "reference", "digest", "status"])) &&
    isListOf(failures, (failure) => hasStrings(failure, ["repository", "reference", "code", "message"])) &&
    (blobs === undefined ||
      (isJsonObject(blobs) && [blobs["copied"], blobs["present"]].every((it) => hasNumbers(it, ["blobs", "bytes"]))))
  );
}

function isBlob(value: unknown): boolean {
  return hasStrings(value, ["digest", "status"]) && hasNumbers(value, ["size"]);
}

function isListOf(value: unknown, isItem: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(isItem);
}

function hasStrings(value: unknown, names: readonly string[]): boolean {
  return isJsonObject(value) && names.every((name) => typeof value[name] === "string");
}

function hasNumbers(value: unknown, names: readonly string[]): boolean {
  return isJsonObject(value) && names.every((name) => typeof value[name] === "number");
}
