/**
 * What an entry of an archive is in an image layout, by its path and type alone. Refused is what claims to be a part of a
 * layout and cannot be one; anything else may be there.
 */
import type { ArchiveEntry, EntryType } from "../archive/read-archive.ts";
import { folderOf, resolvePath } from "../archive/resolve-path.ts";
import { StowageError, quote } from "../errors.ts";
import { isDigest, isSha256Digest } from "../oci/digest.ts";

export type EntryRole =
  /** A blob, with the digest that it claims to have: known before any byte of it. */
  | { readonly kind: "blob"; readonly digest: string }
  | { readonly kind: "index.json" | "oci-layout" | "directory" | "other" };

/**
 * Tells what an entry is. Throws `DIGEST_INVALID` for a file among the blobs that is not named by a digest, `UNSUPPORTED` for
 * one that is named by another than SHA-256, and `ARCHIVE_INVALID` for what should be a file of a layout and is none, and
 * for links into the blobs and out of them.
 */
export function classifyEntry(entry: ArchiveEntry): EntryRole {
  const { path, type } = entry;
  if (path === "index.json" || path === "oci-layout") {
    if (!isFile(entry)) throw notAFile(entry);
    return { kind: path };
  }
  if (linksToBlobs(entry)) throw linkToBlobs(entry);
  if (!isAmongBlobs(path)) return { kind: type === "directory" ? "directory" : "other" };
  const digest = digestIn(path);
  if (type === "directory" && !isSha256Digest(digest)) return { kind: "directory" };
  if (!isFile(entry)) throw notAFile(entry);
  if (isSha256Digest(digest)) return { kind: "blob", digest };
  if (isHidden(path) || isDockerLayer(path)) return { kind: "other" };
  throw notNamed(path, digest);
}

export function isFile({ type }: ArchiveEntry): boolean {
  return type === "file" || type === "contiguous-file";
}

/** What an entry is, for messages. */
export function describeType(type: EntryType): string {
  return type === "unknown" ? "an entry of an unknown type" : `a ${type}`;
}

function isAmongBlobs(path: string): boolean {
  return path === "blobs" || path.startsWith("blobs/");
}

/** `blobs/sha256/ab…` is `sha256:ab…`. */
function digestIn(path: string): string {
  return path.replace(/^blobs\/?/, "").replace("/", ":");
}

/** As file managers leave behind (`.DS_Store`), and Apple's tar beside each file (`._…`). No digest begins so. */
function isHidden(path: string): boolean {
  return path.slice(path.lastIndexOf("/") + 1).startsWith(".");
}

/** Bazel's rules put layers of a docker-archive there, with what they are behind the digest. */
function isDockerLayer(path: string): boolean {
  return /^blobs\/sha256\/[0-9a-f]{64}\.(?:tar|tgz|tar\.gz|tar\.zst)$/.test(path);
}

function linksToBlobs({ path, type, linkTarget = "" }: ArchiveEntry): boolean {
  if (type !== "link" && type !== "symlink") return false;
  const target = resolvePath(linkTarget, type === "symlink" ? folderOf(path) : "");
  return target !== undefined && isAmongBlobs(target);
}

function linkToBlobs({ path, type, linkTarget }: ArchiveEntry): StowageError {
  const found = `a ${type} to ${quote(linkTarget ?? "")}`;
  return new StowageError("ARCHIVE_INVALID", `Cannot take ${quote(path)}: found ${found}; expected no links to blobs`);
}

function notAFile({ path, type }: ArchiveEntry): StowageError {
  return new StowageError(
    "ARCHIVE_INVALID",
    `Cannot take ${quote(path)}: found ${describeType(type)}, expected a file`,
  );
}

function notNamed(path: string, digest: string): StowageError {
  if (isDigest(digest) && !digest.startsWith("sha256:")) {
    return new StowageError(
      "UNSUPPORTED",
      `Cannot take ${quote(path)}: only blobs under a sha256 digest are supported`,
    );
  }
  const expected = `expected "blobs/sha256/" and 64 lower-case hex digits`;
  return new StowageError("DIGEST_INVALID", `Cannot take ${quote(path)}: it is not named by a digest, ${expected}`);
}
