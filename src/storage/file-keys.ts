/** Which keys a directory can hold, and which it holds. */
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { leadsToFolder, readFolder } from "./files.ts";

/** So that no key leaves the root or names what is Stowage's own. */
export function isKey(key: string): boolean {
  return key.split("/").every((segment) => /^[^.\\\0][^\\\0]*$/.test(segment));
}

/**
 * The names of all files, links and the like whose keys start with `prefix`, in the order of their keys. Holds the names of
 * one folder at each level. `folder` is empty or ends with a slash. A link to a folder is followed, as it is by whoever reads
 * a key below it: an index that can be read and is not listed would lose its blobs to `gc`.
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
