/** Files that may be missing: absence is an answer here, and not an error. Also lists the keys of files. */
import { Buffer } from "node:buffer";
import { type BigIntStats, type Dirent, constants } from "node:fs";
import { type FileHandle, lstat, open, readdir, realpath, rmdir, stat, unlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { hasCode, isAbsence, isSystemError } from "./file-errors.ts";

/** Windows has no `O_NOFOLLOW`. There only `lstat` recognises links. */
const withoutLinks = constants.O_RDONLY | constants.O_NOFOLLOW;

/**
 * The facts about a file. Undefined if there is none, or if it is something else, such as a link. Links are not
 * followed.
 */
export async function statFile(path: string): Promise<BigIntStats | undefined> {
  const found = await unlessAbsent(lstat(path, { bigint: true }));
  return found?.isFile() === true ? found : undefined;
}

/** Does the name belong to something else than a file: a link, a folder, a socket? */
export async function isOtherThanFile(path: string): Promise<boolean> {
  return (await unlessAbsent(lstat(path)))?.isFile() === false;
}

/** Does the link lead to a folder? False for a folder around the link: a walk through that would never end. */
async function leadsToFolder(link: string): Promise<boolean> {
  try {
    if (!(await stat(link)).isDirectory()) return false;
    const [target, around] = await Promise.all([realpath(link), realpath(dirname(link))]);
    return /^\.\.(?:[/\\]|$)/.test(relative(target, around));
  } catch (error) {
    if (isAbsence(error) || hasCode(error, "ELOOP")) return false;
    throw error;
  }
}

/** Opens a file. Rejects if it is a link: the caller has seen a file there, by `statFile`, and it was replaced. */
export function openFile(path: string): Promise<FileHandle | undefined> {
  return unlessAbsent(open(path, withoutLinks));
}

/** The entries of a folder, in no order. Empty if there is no folder. */
export async function readFolder(path: string): Promise<readonly Dirent[]> {
  return (await unlessAbsent(readdir(path, { withFileTypes: true }))) ?? [];
}

export function removeFile(path: string): Promise<void> {
  return unlessAbsent(unlink(path));
}

/** Removes the files of a folder that were last written more than `ageMs` ago. */
export async function removeOldFiles(folder: string, ageMs: number): Promise<void> {
  for (const { name } of await readFolder(folder)) {
    const path = join(folder, name);
    const stats = await statFile(path);
    if (stats !== undefined && Date.now() - Number(stats.mtimeMs) > ageMs) await removeFile(path);
  }
}

/**
 * Removes a folder if it is empty, then the folder around it, and so on up to `top`, which stays. A folder that cannot
 * be removed stays: an empty folder does no harm.
 */
export async function removeEmptyFolders(path: string, top: string): Promise<void> {
  for (let folder = path; folder !== top && folder.startsWith(top); folder = dirname(folder)) {
    try {
      await rmdir(folder);
    } catch (error) {
      if (isSystemError(error)) return; // usually it is not empty
      throw error;
    }
  }
}

/** Can the directory hold an object with this key? No key leads out of the root or names one of Stowage's own files. */
export function isKey(key: string): boolean {
  return key.split("/").every((segment) => /^[^.\\\0][^\\\0]*$/.test(segment));
}

/**
 * Lists the keys of all files, links and other entries that start with `prefix`, in order. The walk keeps the names of
 * one folder in memory at each level. `folder` is empty or ends with a slash. A link to a folder is followed, because a
 * read of a key below the link follows it too. Otherwise an index could be read but not listed, and `gc` would delete
 * its blobs.
 */
export async function* listFileKeys(
  root: string,
  prefix: string,
  folder: string = prefix.slice(0, prefix.lastIndexOf("/") + 1),
): AsyncGenerator<string, undefined> {
  if (folder !== "" && !isKey(folder.slice(0, -1))) return undefined;
  for (const name of await readNames(join(root, folder), prefix.slice(folder.length))) {
    const key = folder + name;
    if (!key.endsWith("/")) {
      if (key.startsWith(prefix)) yield key;
    } else if (key.startsWith(prefix) || prefix.startsWith(key)) {
      yield* listFileKeys(root, prefix, key);
    }
  }
  return undefined;
}

/**
 * The names in a folder that begin with `start`, in the order of their keys. Folders have a slash at the end. Other
 * names are left out before the sort, because there may be very many.
 */
async function readNames(path: string, start: string): Promise<readonly string[]> {
  const names: { readonly name: string; readonly bytes: Buffer }[] = [];
  for (const entry of await readFolder(path)) {
    if (!isKey(entry.name)) continue;
    const isLink = entry.isSymbolicLink();
    const isFolder = entry.isDirectory() || (isLink && (await leadsToFolder(join(path, entry.name))));
    const name = isFolder ? `${entry.name}/` : entry.name;
    if (name.startsWith(start) || start.startsWith(name)) names.push({ name, bytes: Buffer.from(name) });
  }
  return names.toSorted((a, b) => Buffer.compare(a.bytes, b.bytes)).map(({ name }) => name);
}

async function unlessAbsent<Result>(work: Promise<Result>): Promise<Result | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}
