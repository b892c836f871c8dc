/**
 * Compare and swap of files, without a lock that a dead process could leave behind.
 *
 * An object that has never been swapped is a plain file under its key. Each swap makes a numbered version of it:
 *
 *     index.json                                 plain file, or else a copy of the newest version, for other tools
 *     .stowage/versions/.index.json/7            newest version, a hard link of the same file: what readers read
 *     .stowage/versions/.index.json/8.<uuid>     on its way to become version 8
 *     .stowage/versions/.index.json/9/           a folder: deleted; from here on the plain file counts again
 *
 * A swap of version n
 *
 * 1. compares the ETag and moves its file, which is written and flushed, to `<n+1>.<uuid>`;
 * 2. looks again whether n is the newest version and has that ETag;
 * 3. links `<n+1>.<uuid>` to `<n+1>`. A name can be linked once: this decides who won;
 * 4. lists the folder, removes the files on their way to less than n+1, moves its own over the plain file, and removes
 *    the versions before its own, oldest first.
 *
 * The number of a plain file is the time at which it was written, in microseconds, or that of the folder beside it if that is
 * larger: so all who swap one plain file go for the same next number, whether the folder is still there or not. A deletion
 * whose number is more than an hour in the past has no effect any more, and its folder is removed: what is written from
 * then on has a larger number by itself. (A swap takes longer than a microsecond, so numbers do not run ahead of time.)
 *
 * Why a number is never won twice, though it is removed in the end: the newest version is never removed, and a number is
 * removed only by the winner of a later one, after it has listed the folder. Take a writer that slept anywhere. If its
 * file was there when the folder was listed, it is gone, and step 3 finds nothing to link. If not, the later version
 * was there before the file was, and step 2 finds it. A killed process leaves nothing but names which a later winner
 * removes. The same list keeps an old copy from being moved over a newer one: a late writer
 * has nothing left to move. (A winner that is killed before its move leaves the copy one version behind, until the next.)
 *
 * Rejected: lock files, since a dead process keeps them; versions kept for a minute, since a writer may sleep longer.
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

/** A deletion with a number of so long ago is forgotten. */
const forgottenMs = 60 * 60 * 1000;
/** The largest number, for any time that a file claims: beyond 2 ** 53 numbers would have gaps. */
const maxNumber = 2 ** 52;

/** The file that is an object's current state. */
export interface FoundFile {
  readonly path: string;
  readonly stats: BigIntStats;
  readonly etag: string;
  /** The newest version's number or, where the plain file counts, the number that it has (see above). */
  readonly number: number;
}

export interface Swap extends CallOptions {
  readonly key: string;
  /** The new state, written and flushed. The file is moved. */
  readonly file: Pick<FoundFile, "path" | "stats">;
  /** The ETag of the state that is replaced. */
  readonly etag: string;
}

interface Newest {
  readonly number: number;
  /** Is it a state, and not the mark of a deletion or of none at all? */
  readonly live: boolean;
}

export class FileVersions {
  readonly #root: string;
  readonly #versions: string;

  /** `root` is where the plain files lie, `versions` the folder of all versions. */
  constructor(root: string, versions: string) {
    this.#root = root;
    this.#versions = versions;
  }

  async find(key: string): Promise<FoundFile | undefined> {
    const path = join(this.#root, key);
    for (;;) {
      // In this order: a plain file that is read after the versions may already be the copy of a later one.
      const plain = await statFile(path);
      const { number, live } = await this.#newest(key);
      if (!live) return plain && { path, number: Math.max(number, timeOf(plain)), stats: plain, etag: etagOf(plain) };
      const version = join(this.#folder(key), String(number));
      const stats = await statFile(version);
      if (stats !== undefined) return { path: version, number, stats, etag: versionEtag(number, stats) };
      // Another swap has replaced it in between: look again.
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
   * Deletes an object, swapped or not. What was there before the call is gone after it, and a writer that is about to swap it
   * loses; what is created and swapped anew meanwhile may go with it. An object that has been swapped within the hour leaves
   * an empty folder under the next number, until `sweep`.
   */
  async remove(key: string): Promise<void> {
    const path = join(this.#root, key);
    let found = false;
    for (;;) {
      const { number, live } = await this.#newest(key);
      if (live && !(await this.#endVersions(key, number))) continue;
      if ((await statFile(path)) !== undefined) {
        found = true;
        await removeFile(path);
      }
      await this.#removeUnfinished(key, Number.POSITIVE_INFINITY);
      if (!(await this.#newest(key)).live) break;
    }
    if (found) await syncDirectory(dirname(path));
    await this.#forget(key);
  }

  /** Removes what deletions of objects right below `prefix` have left, once they are an hour old. */
  async sweep(prefix: string): Promise<void> {
    for (const { name } of await readFolder(join(this.#versions, prefix))) {
      if (name.startsWith(".")) await this.#forget(prefix + name.slice(1));
    }
  }

  /** Removes the folder of a deletion that has no effect any more. A folder in use is not empty, and stays. */
  async #forget(key: string): Promise<void> {
    const { number, live } = await this.#newest(key);
    if (live || number > (Date.now() - forgottenMs) * 1000) return;
    if ((await statFile(join(this.#root, key))) !== undefined) return;
    if (number === 0) await removeEmptyFolders(this.#folder(key), this.#versions);
    else await removeEmptyFolders(join(this.#folder(key), String(number)), this.#versions);
  }

  async #newest(key: string): Promise<Newest> {
    let newest: Newest = { number: 0, live: false };
    let isUsable = true;
    for (const entry of await readFolder(this.#folder(key))) {
      const number = Number(entry.name);
      if (!(number > newest.number)) continue;
      newest = { number, live: !entry.isDirectory() };
      isUsable = entry.isFile() || entry.isDirectory();
    }
    if (isUsable) return newest;
    const path = join(this.#folder(key), String(newest.number));
    const problem = `Cannot read ${JSON.stringify(path)}: found a link or the like there, expected a file`;
    throw new StowageError("STORE_DAMAGED", `${problem}; put a copy of the file there`);
  }

  /** Step 4: makes `number`, which exists, the only version. Without `temporary` the plain file is left as it is. */
  async #settle({ key, number, temporary }: { key: string; number: number; temporary?: string }): Promise<void> {
    const versions = await this.#removeUnfinished(key, number);
    if (temporary !== undefined) await renameUnlessGone(temporary, join(this.#root, key));
    const before = versions.filter((version) => version < number).toSorted((a, b) => a - b);
    for (const version of before) await rm(join(this.#folder(key), String(version)), { recursive: true, force: true });
  }

  /** Removes the files on their way to less than `number`, and returns the versions that were there at the time. */
  async #removeUnfinished(key: string, number: number): Promise<readonly number[]> {
    const names = (await readFolder(this.#folder(key))).map(({ name }) => name);
    const unfinished = names.filter((name) => name.includes(".") && Number.parseInt(name) < number);
    for (const name of unfinished) await removeFile(join(this.#folder(key), name));
    return names.map(Number).filter((version) => version > 0);
  }

  /** Makes the plain file count again, with the same bytes as version `number`; `false` if that is not the newest. */
  async #endVersions(key: string, number: number): Promise<boolean> {
    const folder = this.#folder(key);
    const temporary = join(folder, `${number}.${randomUUID()}`);
    try {
      if (!(await linkUnlessGone(join(folder, String(number)), temporary))) return false;
      await this.#settle({ key, number, temporary });
      await mkdir(join(folder, String(number + 1)));
      await syncDirectory(folder);
      await this.#settle({ key, number: number + 1 });
      return (await this.#newest(key)).number === number + 1; // or this number had been won and removed before
    } catch (error) {
      if (hasCode(error, "EEXIST")) return false;
      throw error;
    } finally {
      await removeFile(temporary);
    }
  }

  /** With a dot before the last segment, which no key has: `a` may be a key today and `a/7` tomorrow. */
  #folder(key: string): string {
    return join(this.#versions, dirname(key), `.${basename(key)}`);
  }
}

/**
 * The same for a plain file and for the temporary one that it was. Two plain files have one ETag only if the first was
 * deleted and the second, of the same size, got its inode in the same tick of the file system's clock.
 */
export function etagOf({ ino, mtimeNs, size }: BigIntStats): string {
  return [ino, mtimeNs, size].map((part) => part.toString(36)).join("-");
}

/** When the file was written, in microseconds since 1970. */
function timeOf({ mtimeNs }: BigIntStats): number {
  return Math.min(Math.max(0, Number(mtimeNs / 1000n)), maxNumber);
}

/** A swap that has been won is done: what could not be cleaned up behind it, the next winner cleans up. */
function leaveToTheNext(error: unknown): void {
  if (!isSystemError(error)) throw error;
}

/** With its number: here the next file but one gets the same inode at once, often in the same tick of the clock. */
function versionEtag(number: number, stats: BigIntStats): string {
  return `${number}-${etagOf(stats)}`;
}

/** Links, unless the name is taken or a later winner has removed the file. */
async function linkUnlessGone(from: string, to: string): Promise<boolean> {
  try {
    return await linkDurably(from, to);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}

/** Moves, unless a later winner has removed the file: it moves its own. */
async function renameUnlessGone(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
}
