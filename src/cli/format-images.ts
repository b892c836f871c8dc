/** Shows images to people: many in a table that fits the terminal, or one in full. */
import { hexOf } from "../digest.ts";
import { formatReference } from "../oci/reference.ts";
import { formatBytes, formatCount, formatTable } from "./format.ts";
import type { ImageDetails, Layer } from "../registry/describe-image.ts";
import type { ListedImage, RepositoryEntry } from "./list-entries.ts";

/** Hex digits of a digest in the table. `stowage ls NAME@DIGEST` accepts them. */
const shortDigits = 12;

/** A longer list of platforms is shown as their number. */
const maxPlatformsLength = 16;

/** An image in the table. Unknown values are shown as `-`. */
type Row = RepositoryEntry & Pick<Partial<ListedImage>, "details">;

/**
 * IMAGE, SIZE, CREATED and PLATFORM. Names are cut to fit `columns`. Without `columns`, a program reads whole names.
 */
export function formatImages(images: readonly Row[], columns: number | undefined): string {
  const header = ["IMAGE", "SIZE", "CREATED", "PLATFORM"];
  const rows = images.map((image) => [nameOf(image), ...columnsOf(image)]);
  if (columns === undefined) return formatTable([header, ...rows]);
  const others = formatTable([header, ...rows].map((row) => row.slice(1)));
  const left = columns - Math.max(...others.split("\n").map((line) => line.length)) - 2;
  return formatTable([header, ...rows].map(([name = "", ...rest]) => [cut(name, Math.max(left, 20)), ...rest]));
}

function nameOf({ repository, reference }: RepositoryEntry): string {
  return formatReference(repository, reference).replace(/@\w+:([0-9a-f]+)$/, (_, hex: string) => {
    return `@${hex.slice(0, shortDigits)}`;
  });
}

function columnsOf({ subject, details }: Row): string[] {
  if (details === undefined) return ["-", "-", subject === undefined ? "-" : "referrer"];
  const { totalSize, created, platforms } = details;
  return [formatBytes(totalSize), dateOf(created), subject === undefined ? shortPlatforms(platforms) : "referrer"];
}

function dateOf(created: string | undefined): string {
  const ms = Date.parse(created ?? "");
  return Number.isNaN(ms) ? "-" : new Date(ms).toISOString().slice(0, 10);
}

function shortPlatforms(platforms: readonly string[]): string {
  const text = platforms.join(", ");
  if (text === "") return "-";
  return text.length <= maxPlatformsLength ? text : formatCount(platforms.length, "platform");
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}

/**
 *     team/app:1.4
 *     digest   sha256:…
 *     size     37.2 MiB
 *     created  2026-11-29T12:00:00Z
 *     platform linux/amd64
 *
 *     LAYER         SIZE      CREATED BY
 *     ff9221285b95  37.2 MiB  COPY . /app
 */
export function formatImage({ repository, reference, digest, subject, details }: ListedImage): string {
  const lines = [formatReference(repository, reference), labelled("digest", digest)];
  if (subject !== undefined) lines.push(labelled("about", subject));
  if (details !== undefined) lines.push(...aboutLines(details));
  for (const part of details?.manifests ?? []) lines.push("", labelled("digest", part.digest), ...aboutLines(part));
  return `${lines.join("\n")}\n`;
}

/** A line with a SHA-256 has 80 characters. */
function labelled(label: string, text: string): string {
  return `${label.padEnd(8)} ${text}`;
}

function aboutLines({ totalSize, created, platforms, layers = [] }: ImageDetails): string[] {
  const lines = [labelled("size", formatBytes(totalSize))];
  if (created !== undefined) lines.push(labelled("created", created));
  if (platforms.length > 0) lines.push(cut(labelled("platform", platforms.join(", ")), maxLine));
  if (layers.length === 0) return lines;
  const table = formatTable([["LAYER", "SIZE", "CREATED BY"], ...layers.map(layerRow)]);
  return [
    ...lines,
    "",
    ...table
      .trimEnd()
      .split("\n")
      .map((line) => cut(line, maxLine)),
  ];
}

/** The command that made a layer can be a whole script. */
const maxLine = 80;

function layerRow({ digest, size, createdBy = "" }: Layer): string[] {
  return [hexOf(digest).slice(0, shortDigits), formatBytes(size), createdBy.replaceAll(/\s+/g, " ").trim()];
}
