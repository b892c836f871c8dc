/**
 * Tells the role of an archive's entry in an image layout, by its path and type alone. Any file may lie beside a
 * layout's own files. A link in the place of a blob matters only if an image needs the blob.
 */
import type { ArchiveEntry, EntryType } from "../archive/read-archive.ts";
import { type Digest, digestUnder, isAlgorithm } from "../digest.ts";
import { type ErrorCode, limitExceeded, messageOf, quote, StowageError } from "../errors.ts";
import { describeJson, isJsonObject, parseJson } from "../oci/json.ts";
import { collectBytes, isSameAs } from "../streams/collect-bytes.ts";

type EntryRole =
  /** A blob. The path claims its digest, before any byte of the blob is read. */
  | { readonly kind: "blob"; readonly digest: Digest }
  /** An entry that is not a file, but has the path of a blob. Or a link that has the path of the folder of blobs. */
  | { readonly kind: "unusable blob" }
  | { readonly kind: "index.json" | "oci-layout" | "directory" | "other" };

/** Tells what an entry is. Throws `ARCHIVE_INVALID` for an `index.json` or an `oci-layout` that is no file. */
export function classifyEntry(entry: ArchiveEntry): EntryRole {
  const { path, type } = entry;
  if (path === "index.json" || path === "oci-layout") {
    if (!isFile(entry)) throw notAFile(entry);
    return { kind: path };
  }
  const digest = digestUnder("blobs/", path);
  if (digest !== undefined) return isFile(entry) ? { kind: "blob", digest } : { kind: "unusable blob" };
  if (type === "directory") return { kind: "directory" };
  const isFolder = path === "blobs" || (path.startsWith("blobs/") && isAlgorithm(path.slice("blobs/".length)));
  return { kind: isFolder && !isFile(entry) ? "unusable blob" : "other" };
}

export function isFile({ type }: Pick<ArchiveEntry, "type">): boolean {
  return type === "file" || type === "contiguous-file";
}

/** Is this the path of the folder of a layout's blobs, or a path inside the folder? */
export function isAmongBlobs(path: string): boolean {
  return path === "blobs" || path.startsWith("blobs/");
}

/** Names the type of an entry in messages. */
export function describeType(type: EntryType): string {
  return type === "unknown" ? "an entry of an unknown type" : `a ${type}`;
}

/** The error for a link, a device or the like in the place of a file. */
export function notAFile({ path, type }: Pick<ArchiveEntry, "path" | "type">): StowageError {
  const isLink = type === "link" || type === "symlink";
  const hint = isLink ? "; `tar -h --hard-dereference -c` writes files in the place of links" : "";
  const message = `Cannot take ${quote(path)}: found ${describeType(type)}, expected a file${hint}`;
  return new StowageError("ARCHIVE_INVALID", message);
}

/**
 * Reads `index.json` or `oci-layout`. Both files are kept in memory until the end of the archive. An archive may have
 * such a file twice, with the same bytes: `before` has those of the earlier file. `limit` is the name of the setting
 * for `maxBytes`, if there is one. Throws `LIMIT_EXCEEDED` if the file is too large, and an error with `code` if it
 * differs from the earlier file.
 */
export async function readLayoutFile(
  { path, size, body }: ArchiveEntry,
  before: Uint8Array | undefined,
  { maxBytes, limit, code }: { readonly maxBytes: number; readonly limit?: string; readonly code: ErrorCode },
): Promise<Uint8Array> {
  if (size > maxBytes) {
    const excess = { ...(limit !== undefined && { limit }), found: size, expected: maxBytes };
    throw limitExceeded(`Cannot read ${path}: it has ${size} bytes`, excess);
  }
  if (before === undefined) return collectBytes(body, size);
  if (await isSameAs(before, body)) return before;
  throw new StowageError(code, `Cannot read ${path}: the archive has it twice, with different content`);
}

/**
 * Checks the bytes of an `oci-layout` (image specification, "oci-layout file"). Older tools leave the file out. Throws
 * `ARCHIVE_INVALID` for other bytes, and `UNSUPPORTED` for a later version.
 */
export function checkLayoutVersion(bytes: Uint8Array): void {
  let json: unknown;
  try {
    json = parseJson(bytes);
  } catch (error) {
    throw new StowageError("ARCHIVE_INVALID", `Cannot read oci-layout as JSON: ${messageOf(error)}`, { cause: error });
  }
  const version = isJsonObject(json) ? json["imageLayoutVersion"] : undefined;
  if (typeof version !== "string") {
    const found = isJsonObject(json) ? `imageLayoutVersion ${describeJson(version)}` : describeJson(json);
    throw new StowageError("ARCHIVE_INVALID", `Cannot read oci-layout: found ${found}, expected a version`);
  }
  if (!/^1\.\d+\.\d+$/.test(version)) {
    const message = `Cannot load the archive: found imageLayoutVersion ${describeJson(version)}, expected "1.0.0"`;
    throw new StowageError("UNSUPPORTED", message);
  }
}
