/** The names of an archive's entries, of which only those are taken that mean the same to everybody. */
import { quote, StowageError } from "../errors.ts";
import { invalidTar } from "./tar-header.ts";

/** Characters of a path at most: as much as most file systems take. */
const maxPathLength = 4096;

/**
 * The path that a name means: `./blobs//sha256/` is `blobs/sha256`. Throws `ARCHIVE_INVALID` if it is absolute, other than
 * `/sha256:<hex>.tar`, has a `..`, a backslash or a zero byte in it, and `LIMIT_EXCEEDED` if it is too long. `where` names its place in messages.
 */
export function entryPath(name: string, where: string): string {
  if (name.length > maxPathLength) throw tooLong(name);
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

function tooLong(name: string): StowageError {
  const start = quote(name.slice(0, 100));
  return new StowageError(
    "LIMIT_EXCEEDED",
    `Cannot read the archive: a path of ${name.length} characters starts with ${start}, at most ${maxPathLength} are allowed`,
    { detail: { found: name.length, expected: maxPathLength } },
  );
}

// Paths inside an archive, such as a link's target, without `.` and `..`.

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
