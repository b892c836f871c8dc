/**
 * Compare and swap of files, without a lock that a dead process could leave behind.
 *
 * An object that has never been swapped is a plain file under its key. Each swap makes a numbered version of it:
 *
 *     index.json                                 plain file, or a copy of the newest version for other tools
 *     .stowage/versions/.index.json/7            newest version, a hard link of the same file: readers read this one
 *     .stowage/versions/.index.json/8.<uuid>     on its way to become version 8
 *     .stowage/versions/.index.json/9/           a folder marks a deletion: from here on the plain file counts again
 *
 * A swap of version n
 *
 * 1. compares the ETag, and moves its own file, which is written and flushed, to `<n+1>.<uuid>`;
 * 2. checks again that n is the newest version and has that ETag;
 * 3. links `<n+1>.<uuid>` to `<n+1>`. A name can be linked once, so one writer wins;
 * 4. lists the folder, removes files on their way to numbers below n+1, moves its own file over the plain file, and
 *    removes the older versions, oldest first.
 *
 * A plain file has a number too: the time at which it was written, in microseconds. If the number of the folder beside
 * it is larger, that number counts. So all writers that swap one plain file try the same next number, whether the
 * folder still exists or not. A deletion with a number that is more than an hour old has no effect any more, and its
 * folder is removed: a file that is written later has a larger number anyway. (A swap takes longer than a microsecond,
 * so numbers do not run ahead of the time.)
 *
 * No number is won twice, although numbers are removed later. The newest version is never removed. Only the winner of a
 * later number removes a number, after it has listed the folder. Suppose that a slow writer sleeps at any step:
 *
 * - If its file was in the list, the winner has removed the file. Step 3 of the slow writer finds nothing to link.
 * - If its file was not in the list, the later version existed before the file. Step 2 of the slow writer finds that
 *   version.
 *
 * For the same reason a slow writer never moves an old copy over a newer one: its file is gone. A killed process leaves
 * only names that a later winner removes. (If a winner is killed before it moves its file, the plain file stays one
 * version behind until the next swap.)
 *
 * Rejected: lock files, because a dead process keeps them; and versions that are kept for a minute, because a writer
 * may sleep longer.
 */
import { randomUUID } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { StowageError } from "../../errors.ts";
import { inDirectory, linkDurably, syncDirectory } from "./durable-file.ts";
import { hasCode, isSystemError } from "./file-errors.ts";
import { readFolder, removeEmptyFolders, removeFile, statFile } from "./files.ts";
import type { CallOptions } from "../object-store.ts";

/** A deletion whose number is this old is forgotten. */
const forgottenMs = 60 * 60 * 1000;
/** The largest number, for files with a time in the far future: above 2 ** 53, numbers have gaps. */
const maxNumber = 2 ** 52;

/** The file that is an object's current state. */
export interface FoundVersion {
  readonly path: string;
  readonly stats: BigIntStats;
  readonly etag: string;
  /** The newest version's number, or the plain file's number if the plain file counts (see above). */
  readonly number: number;
}

interface Swap extends CallOptions {
  readonly key: string;
  /** The new state, written and flushed. The file is moved. */
  readonly file: Pick<FoundVersion, "path" | "stats">;
  /** The ETag of the state that is replaced. */
  readonly etag: string;
}

interface Newest {
  readonly number: number;
  /** Is the newest version a file? False for a deletion, and if there is no version. */
  readonly isLive: boolean;
}

export class FileVersions {
  readonly #root: string;
  readonly #versions: string;

  /** `root` has the plain files, `versions` has all versions. */
  constructor(root: string, versions: string) {
    this.#root = root;
    this.#versions = versions;
  }

  async find(key: string): Promise<FoundVersion | undefined> {
    const path = join(this.#root, key);
    for (;;) {
      // The plain file is read first: read after the versions, it could be the copy of a later version.
      const plain = await statFile(path);
      const { number, isLive } = await this.#newest(key);
      if (!isLive) return plain && { path, number: Math.max(number, timeOf(plain)), stats: plain, etag: etagOf(plain) };
      const version = join(this.#folder(key), String(number));
      const stats = await statFile(version);
      if (stats !== undefined) return { path: version, number, stats, etag: versionEtag(number, stats) };
      // Another swap has replaced the version: look again.
    }
  }

  async swap({ key, file, etag, signal }: Swap): Promise<{ readonly etag: string } | "conflict"> {
    const base = await this.find(key);
    if (base?.etag !== etag) return "conflict";
    const number = base.number + 1;
    const folder = this.#folder(key);
    const temporary = join(folder, `${number}.${randomUUID()}`);
    await inDirectory(folder, async () => rename(file.path, temporary));
    try {
      const again = await this.find(key);
      if (again?.etag !== etag || again.number !== base.number) return "conflict";
      signal?.throwIfAborted();
      if (!(await linkUnlessGone(temporary, join(folder, String(number))))) return "conflict";
      await this.#settle({ key, number, temporary }).catch(leaveToTheNext);
      return { etag: versionEtag(number, file.stats) };
    } finally {
      await removeFile(temporary);
    }
  }

  /**
   * Deletes an object, swapped or not. The state before the call is gone after it, and a writer that is about to swap
   * that state loses. An object that is made during the call may be deleted too. If the object was swapped within the
   * last hour, an empty folder with the next number stays until `sweep`.
   */
  async remove(key: string): Promise<void> {
    const path = join(this.#root, key);
    let found = false;
    for (;;) {
      const { number, isLive } = await this.#newest(key);
      if (isLive && !(await this.#endVersions(key, number))) continue;
      if ((await statFile(path)) !== undefined) {
        found = true;
        await removeFile(path);
      }
      await this.#removeUnfinished(key, Number.POSITIVE_INFINITY);
      if (!(await this.#newest(key)).isLive) break;
    }
    if (found) await syncDirectory(dirname(path));
    await this.#forget(key);
  }

  /** Removes the folders of deletions right below `prefix` that are an hour old. */
  async sweep(prefix: string): Promise<void> {
    for (const { name } of await readFolder(join(this.#versions, prefix))) {
      if (name.startsWith(".")) await this.#forget(prefix + name.slice(1));
    }
  }

  /** Removes the folder of a deletion that no longer has an effect. A folder in use is not empty, and stays. */
  async #forget(key: string): Promise<void> {
    const { number, isLive } = await this.#newest(key);
    if (isLive || number > (Date.now() - forgottenMs) * 1000) return;
    if ((await statFile(join(this.#root, key))) !== undefined) return;
    if (number === 0) await removeEmptyFolders(this.#folder(key), this.#versions);
    else await removeEmptyFolders(join(this.#folder(key), String(number)), this.#versions);
  }

  async #newest(key: string): Promise<Newest> {
    let newest: Newest = { number: 0, isLive: false };
    let isUsable = true;
    for (const entry of await readFolder(this.#folder(key))) {
      const number = Number(entry.name);
      if (!(number > newest.number)) continue;
      newest = { number, isLive: !entry.isDirectory() };
      isUsable = entry.isFile() || entry.isDirectory();
    }
    if (isUsable) return newest;
    const path = join(this.#folder(key), String(newest.number));
    const problem = `Cannot read ${JSON.stringify(path)}: found a link or the like there, expected a file`;
    throw new StowageError("STORE_DAMAGED", `${problem}; put a copy of the file there`);
  }

  /** Step 4: makes `number`, which exists, the only version. Without `temporary` the plain file stays unchanged. */
  async #settle({ key, number, temporary }: { key: string; number: number; temporary?: string }): Promise<void> {
    const versions = await this.#removeUnfinished(key, number);
    if (temporary !== undefined) await renameUnlessGone(temporary, join(this.#root, key));
    const before = versions.filter((version) => version < number).toSorted((a, b) => a - b);
    for (const version of before) await rm(join(this.#folder(key), String(version)), { recursive: true, force: true });
  }

  /** Removes the files on their way to numbers below `number`. Returns the versions in the folder at that time. */
  async #removeUnfinished(key: string, number: number): Promise<readonly number[]> {
    const names = (await readFolder(this.#folder(key))).map(({ name }) => name);
    const unfinished = names.filter((name) => name.includes(".") && Number.parseInt(name) < number);
    for (const name of unfinished) await removeFile(join(this.#folder(key), name));
    return names.map(Number).filter((version) => version > 0);
  }

  /** Makes the plain file count again, with the bytes of version `number`. False if that is not the newest version. */
  async #endVersions(key: string, number: number): Promise<boolean> {
    const folder = this.#folder(key);
    const temporary = join(folder, `${number}.${randomUUID()}`);
    try {
      if (!(await linkUnlessGone(join(folder, String(number)), temporary))) return false;
      await this.#settle({ key, number, temporary });
      await mkdir(join(folder, String(number + 1)));
      await syncDirectory(folder);
      await this.#settle({ key, number: number + 1 });
      return (await this.#newest(key)).number === number + 1; // false if this number was won and removed before
    } catch (error) {
      if (hasCode(error, "EEXIST")) return false;
      throw error;
    } finally {
      await removeFile(temporary);
    }
  }

  /**
   * The folder's name is the last segment of the key with a dot before it. No key has such a segment, so the folder
   * cannot collide with another key: `a` may be a key today, and `a/7` tomorrow.
   */
  #folder(key: string): string {
    return join(this.#versions, dirname(key), `.${basename(key)}`);
  }
}

/**
 * A plain file keeps the ETag of its temporary file. Two plain files can have one ETag only if the first was deleted
 * and the second, of the same size, got its inode in the same tick of the file system's clock.
 */
export function etagOf({ ino, mtimeNs, size }: BigIntStats): string {
  return [ino, mtimeNs, size].map((part) => part.toString(36)).join("-");
}

/** When the file was written, in microseconds since 1970. */
function timeOf({ mtimeNs }: BigIntStats): number {
  return Math.min(Math.max(0, Number(mtimeNs / 1000n)), maxNumber);
}

/** A swap that has won is done. If its clean-up fails, the next winner cleans up. */
function leaveToTheNext(error: unknown): void {
  if (!isSystemError(error)) throw error;
}

/**
 * The ETag of a version has its number, because inodes are used again at once: version 9 can get the inode of version 7
 * in the same tick of the clock.
 */
function versionEtag(number: number, stats: BigIntStats): string {
  return `${number}-${etagOf(stats)}`;
}

/** Links a file. False if the name is taken, or if a later winner has removed the file. */
async function linkUnlessGone(from: string, to: string): Promise<boolean> {
  try {
    return await linkDurably(from, to);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}

/** Moves a file. Does nothing if a later winner has removed the file: that winner moves its own. */
async function renameUnlessGone(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
}
