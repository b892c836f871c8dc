/** Paths in an archive. A name that readers could understand in different ways is refused. */
import { limitExceeded, quote } from "../errors.ts";
import { invalidTar } from "./tar-header.ts";

/** Characters of a path: most file systems take no more. */
const maxPathLength = 4096;

/**
 * The path that a name means: `./blobs//sha256/` is `blobs/sha256`. Throws `ARCHIVE_INVALID` if the name is absolute, except
 * `/sha256:<hex>.tar`, or has a `..`, a backslash or a zero byte in it, and `LIMIT_EXCEEDED` if it is too long. `where` names
 * the entry's place in messages.
 */
export function entryPath(name: string, where: string): string {
  checkLength(name, "path");
  const relative = absoluteLayer.test(name) ? name.slice(1) : name;
  const problem = problemOf(relative);
  if (problem !== undefined) throw invalidTar(where, `found the path ${quote(name)}, which ${problem}`);
  return resolvePath(relative) ?? "";
}

/** How imgutil names the layers of images that Buildpacks build. No reader takes such a path for another. */
const absoluteLayer = /^\/sha256:[0-9a-f]{64}\.tar$/;

function problemOf(name: string): string | undefined {
  if (name.startsWith("/")) return "is absolute; expected one inside the archive";
  if (name.split("/").includes("..")) return 'has a ".." in it; expected one inside the archive';
  if (name.includes("\\")) return "has a backslash in it; expected slashes";
  if (name.includes("\0")) return "has a zero byte in it";
  return undefined;
}

/** Returns a path or the target of a link. Throws `LIMIT_EXCEEDED` if it is too long to be taken apart. */
export function checkLength(text: string, what: string): string {
  if (text.length <= maxPathLength) return text;
  const start = quote(text.slice(0, 100));
  throw limitExceeded(`Cannot read the archive: a ${what} that starts with ${start} has ${text.length} characters`, {
    found: text.length,
    expected: maxPathLength,
  });
}

/**
 * The path that `path` means in `folder`, which is itself such a path, or empty for the top of the archive. Undefined if
 * it leads out of the archive, as any absolute path does.
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

/** The folder that a path lies in, empty for the top of the archive. */
export function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}
