/** Paths in an archive. If two programs could read a name as two different paths, the name is refused. */
import { isDigest } from "../digest.ts";
import { limitExceeded, quote } from "../errors.ts";
import { invalidTar } from "./tar-header.ts";

/** Characters of a path: most file systems take no more. */
const maxPathLength = 4096;

/**
 * The path of an entry's name: `./blobs//sha256/` becomes `blobs/sha256`. Throws `ARCHIVE_INVALID` for an absolute name
 * (except `/sha256:<hex>.tar`), and for a name with `..`, a backslash or a zero byte. Throws `LIMIT_EXCEEDED` for a
 * name that is too long. `where` names the entry's place in messages.
 */
export function entryPath(name: string, where: string): string {
  checkLength(name, "path");
  const relative = isAbsoluteLayer(name) ? name.slice(1) : name;
  const problem = problemOf(relative);
  if (problem !== undefined) throw invalidTar(where, `found the path ${quote(name)}, which ${problem}`);
  return resolvePath(relative) ?? "";
}

/** imgutil uses this name for layers of images that Buildpacks build. All programs read it as the same path. */
function isAbsoluteLayer(name: string): boolean {
  return name.startsWith("/") && name.endsWith(".tar") && isDigest(name.slice(1, -".tar".length));
}

function problemOf(name: string): string | undefined {
  if (name.startsWith("/")) return "is absolute; expected one inside the archive";
  if (name.split("/").includes("..")) return 'has a ".." in it; expected one inside the archive';
  if (name.includes("\\")) return "has a backslash in it; expected slashes";
  if (name.includes("\0")) return "has a zero byte in it";
  return undefined;
}

/** Returns a path or the target of a link. Throws `LIMIT_EXCEEDED` if it is too long. */
export function checkLength(text: string, what: string): string {
  if (text.length <= maxPathLength) return text;
  const start = quote(text.slice(0, 100));
  throw limitExceeded(`Cannot read the archive: a ${what} that starts with ${start} has ${text.length} characters`, {
    found: text.length,
    expected: maxPathLength,
  });
}

/**
 * Resolves `path` from `folder`, which is a path in the archive, or empty for the top. Undefined if the result is
 * outside of the archive. Absolute paths are outside.
 */
export function resolvePath(path: string, folder = ""): string | undefined {
  if (path.startsWith("/")) return undefined;
  const segments: string[] = [];
  for (const segment of `${folder}/${path}`.split("/")) {
    if (segment === "" || segment === ".") continue;
    if (segment !== "..") segments.push(segment);
    else if (segments.pop() === undefined) return undefined;
  }
  return segments.join("/");
}

/** The folder of a path. Empty for the top of the archive. */
export function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}
