/** Files that need not be there, so that absence is an answer and not an error; and the keys of those that are. */
import { Buffer } from "node:buffer";
import { type BigIntStats, type Dirent, constants } from "node:fs";
import { type FileHandle, lstat, open, readdir, realpath, rmdir, stat, unlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { hasCode, isAbsence, isSystemError } from "./file-errors.ts";

/** Windows has no `O_NOFOLLOW`, which adds nothing there: links are told by `lstat` alone. */
const withoutLinks = constants.O_RDONLY | constants.O_NOFOLLOW;

/** What is known of a file; undefined where there is none, or something else, such as a link: links are not followed. */
export async function statFile(path: string): Promise<BigIntStats | undefined> {
  const found = await unlessAbsent(lstat(path, { bigint: true }));
  return found?.isFile() === true ? found : undefined;
}

/** Is there anything of this name that is no file: a link, a folder, a socket? */
export async function isOtherThanFile(path: string): Promise<boolean> {
  return (await unlessAbsent(lstat(path)))?.isFile() === false;
}

/** Does the link lead to a folder? A folder around the link does not count: a walk through it would never end. */
export async function leadsToFolder(link: string): Promise<boolean> {
  try {
    if (!(await stat(link)).isDirectory()) return false;
    const [target, around] = await Promise.all([realpath(link), realpath(dirname(link))]);
    return /^\.\.(?:[/\\]|$)/.test(relative(target, around));
  } catch (error) {
    if (isAbsence(error) || hasCode(error, "ELOOP")) return false;
    throw error;
  }
}

/** Rejects if it is a link: the caller has found a file by `statFile` before. */
export function openFile(path: string): Promise<FileHandle | undefined> {
  return unlessAbsent(open(path, withoutLinks));
}

/** What is in a folder, in no order; nothing where there is none. */
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
 * Removes a folder if it is empty, then the folder around it, and so on, up to `top`, which stays. Folders are housekeeping:
 * one that cannot be removed stays.
 */
export async function removeEmptyFolders(path: string, top: string): Promise<void> {
  for (let folder = path; folder !== top && folder.startsWith(top); folder = dirname(folder)) {
    try {
      await rmdir(folder);
    } catch (error) {
      if (isSystemError(error)) return; // it is not empty, as a rule
      throw error;
    }
  }
}

/** Can the directory hold it? No key leaves the root or names one of Stowage's own files. */
export function isKey(key: string): boolean {
  return key.split("/").every((segment) => /^[^.\\\0][^\\\0]*$/.test(segment));
}

/**
 * The names of all files, links and the like whose keys start with `prefix`, in the order of their keys. Holds the names of
 * one folder at each level. `folder` is empty or ends with a slash. A link to a folder is followed, as a read of a key below it
 * follows the link: an index that can be read and is not listed would lose its blobs to `gc`.
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
 * The names in a folder that begin as `start` does, folders with a slash behind, in the order of the keys that they begin.
 * Others are left out before they are sorted: there may be very many.
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
