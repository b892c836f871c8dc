/** Paths inside an archive, such as a link's target, without `.` and `..`. */

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
