/**
 * What an entry of an archive is in an image layout, by its path and type alone. Anything may be there beside a layout's own
 * files; what is no blob matters only if an image needs it.
 */
import type { ArchiveEntry, EntryType } from "../archive/read-archive.ts";
import { StowageError } from "../errors.ts";
import { isSha256Digest } from "../oci/digest.ts";

export type EntryRole =
  /** A blob, with the digest that it claims to have: known before any byte of it. */
  | { readonly kind: "blob"; readonly digest: string }
  /** Something other than a file in the place of a blob, or a link in that of the folder of blobs. */
  | { readonly kind: "unusable blob" }
  | { readonly kind: "index.json" | "oci-layout" | "directory" | "other" };

/** Tells what an entry is. Throws `ARCHIVE_INVALID` for an `index.json` or an `oci-layout` that is no file. */
export function classifyEntry(entry: ArchiveEntry): EntryRole {
  const { path, type } = entry;
  if (path === "index.json" || path === "oci-layout") {
    if (!isFile(entry)) throw notAFile(entry);
    return { kind: path };
  }
  const digest = /^blobs\/(sha256)\/([^/]+)$/.exec(path)?.slice(1).join(":") ?? "";
  if (isSha256Digest(digest)) return isFile(entry) ? { kind: "blob", digest } : { kind: "unusable blob" };
  if (type === "directory") return { kind: "directory" };
  const isFolder = path === "blobs" || path === "blobs/sha256";
  return { kind: isFolder && !isFile(entry) ? "unusable blob" : "other" };
}

export function isFile({ type }: Pick<ArchiveEntry, "type">): boolean {
  return type === "file" || type === "contiguous-file";
}

/** Is it the folder of a layout's blobs, or inside of it? */
export function isAmongBlobs(path: string): boolean {
  return path === "blobs" || path.startsWith("blobs/");
}

/** What an entry is, for messages. */
export function describeType(type: EntryType): string {
  return type === "unknown" ? "an entry of an unknown type" : `a ${type}`;
}

/** The error that a file of a layout is something else. */
export function notAFile({ path, type }: Pick<ArchiveEntry, "path" | "type">): StowageError {
  const isLink = type === "link" || type === "symlink";
  const hint = isLink ? "; `tar -h --hard-dereference -c` writes files in the place of links" : "";
  const message = `Cannot take ${JSON.stringify(path)}: found ${describeType(type)}, expected a file${hint}`;
  return new StowageError("ARCHIVE_INVALID", message);
}
