/**
 * A directory as a store. It is the default store. Several processes may share the directory, and each may be killed at
 * any moment.
 *
 *     <root>/<key>                       every object, a plain file: for other tools the directory is an image layout
 *     <root>/.stowage/tmp/<uuid>         objects that are being written
 *     <root>/.stowage/versions/…         objects that have been swapped (`file-versions.ts`)
 *     <root>/.stowage/reserve            room on a full disk, for the writes that free space (`reserve-file.ts`)
 *
 * An object is written and flushed under `tmp` and then linked to its key. A name can be linked once: a second writer
 * finds the name taken. So a key never names half an object. A killed process leaves only a file under `tmp`. The first
 * write of another process removes that file when it is an hour old.
 *
 * A folder is removed with its last object, except the folders of blobs and of incoming tarballs. Other tools may read
 * the directory at any time, and may write blobs into it. They must not change an index that Stowage has swapped. A
 * symbolic link in the place of an object is not followed: readers find no object, and a written blob replaces the
 * link.
 */
import { randomUUID } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { StowageError } from "../../errors.ts";
import {
  type ByteSource,
  type CallOptions,
  type CopyOptions,
  type GetOptions,
  type ListedObject,
  type ObjectStore,
  type PutCondition,
  type PutOptions,
  type PutResult,
  type SendOptions,
  type StoredObject,
  type Unanswered,
  type WriteOptions,
  type WriteResult,
  writeResultOf,
} from "../object-store.ts";
import { holds } from "../settle-write.ts";
import { WrittenBody } from "../written-body.ts";
import { inDirectory, linkDurably, makeDirectory, renameDurably, writeDurably } from "./durable-file.ts";
import { fileReadBytes, readFileBody } from "./file-body.ts";
import { guarded } from "./file-errors.ts";
import { type FoundVersion, etagOf, FileVersions } from "./file-versions.ts";
import {
  isKey,
  isOtherThanFile,
  listFileKeys,
  openFile,
  removeEmptyFolders,
  removeFile,
  removeOldFiles,
} from "./files.ts";
import { ReserveFile } from "./reserve-file.ts";

const ownFolder = ".stowage";
/** The process of a temporary file that was last written this long ago is gone. */
const abandonedMs = 60 * 60 * 1000;
/**
 * Blobs. Other tools write them too, because an image layout has them. A blob has the same bytes at all times. So blobs
 * have no versions, and a damaged blob is replaced in its place. Writes of blobs do not use the room of the reserve.
 */
const contentFolder = "blobs/";
/** Folders that stay when they are empty: an image layout has `blobs`, and users put tarballs into `incoming`. */
const keptFolders = [contentFolder, "incoming/"];
/** Prefixes with objects that are swapped and deleted: marks, and the objects of the probe. */
const sweptPrefixes = ["condemned/", "staging/"];

/** A directory as a store. Several processes may share it. */
export class DirectoryStore implements ObjectStore {
  readonly url: string;
  readonly partBytes = 8 * 1024 * 1024;
  readonly #root: string;
  readonly #temporary: string;
  readonly #versions: FileVersions;
  readonly #reserve: ReserveFile;
  #swept: Promise<void> | undefined;

  /** The first write makes the directory. */
  constructor(path: string) {
    if (path === "") throw new StowageError("INPUT_INVALID", "Cannot open a directory store: its path is empty");
    this.url = `file:${path}`;
    this.#root = resolve(path);
    this.#temporary = join(this.#root, ownFolder, "tmp");
    this.#versions = new FileVersions(this.#root, join(this.#root, ownFolder, "versions"));
    this.#reserve = new ReserveFile(join(this.#root, ownFolder, "reserve"));
  }

  /** One chunk that is being written. */
  writeBufferBytes(): number {
    return fileReadBytes;
  }

  copyBufferBytes(): number {
    return 0;
  }

  async head(key: string, { signal }: CallOptions = {}): Promise<ListedObject | undefined> {
    signal?.throwIfAborted();
    const found = await guarded(this.#doing("read", key), () => this.#versions.find(key));
    return found && infoOf(key, found);
  }

  async get(key: string, { range, signal }: GetOptions = {}): Promise<StoredObject | undefined> {
    const doing = this.#doing("read", key);
    return guarded(doing, async () => {
      for (;;) {
        signal?.throwIfAborted();
        const found = await this.#versions.find(key);
        if (found === undefined) return undefined;
        const file = await openFound(found);
        if (file === undefined) continue; // the file was replaced: look again
        const info = infoOf(key, found);
        const { start, end } = range ?? { start: 0, end: info.size };
        return { ...info, body: readFileBody(file, { start, stop: Math.min(end + 1, info.size), doing, signal }) };
      }
    });
  }

  async put(key: string, bytes: Uint8Array, { condition, signal }: PutOptions = {}): Promise<PutResult> {
    const doing = this.#doing("write", key);
    const write = async (): Promise<Answer> => {
      if (condition !== undefined && !holds(condition, await this.#versions.find(key))) return "conflict";
      return this.#write([bytes], { key, condition, signal });
    };
    const isSmall = condition !== undefined && !key.startsWith(contentFolder);
    const writing = isSmall ? this.#doSmall(doing, write) : this.#doLarge(doing, bytes.length, write);
    return condition === undefined ? writing : orUnanswered(writing);
  }

  async write(key: string, source: ByteSource, options: WriteOptions = {}): Promise<WriteResult> {
    const { condition, signal } = options;
    const body = new WrittenBody(key, source, signal);
    const write = async (): Promise<Answer> => this.#write(body.chunks, { key, condition, signal });
    try {
      return writeResultOf(await this.#doLarge(this.#doing("write", key), source.size ?? 0, write));
    } catch (error) {
      body.throwIfFailed(); // the body's own error, which may be of a file or a socket
      throw error;
    }
  }

  /** Copies no bytes: the file gets one more name, or another name. */
  async copy(from: string, to: string, { condition, signal }: CopyOptions): Promise<WriteResult> {
    const doing = this.#doing("copy", from);
    const link = async (): Promise<Answer> => {
      signal?.throwIfAborted();
      const found = await this.#versions.find(from);
      if (found !== undefined) return this.#publish(found, { key: to, condition, signal });
      throw new StowageError("STORE_UNAVAILABLE", `Cannot ${doing}: it is not there`);
    };
    return writeResultOf(await this.#change(this.#doing("write", to), link));
  }

  async *list(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<ListedObject> {
    signal?.throwIfAborted();
    const keys = listFileKeys(this.#root, prefix);
    for (;;) {
      const { done, value: key } = await guarded(`list ${this.url}`, async () => keys.next());
      if (done === true) return;
      signal?.throwIfAborted();
      const info = await this.head(key, { signal });
      if (info !== undefined) yield info;
    }
  }

  async delete(key: string, { once = false, signal }: SendOptions = {}): Promise<Unanswered | undefined> {
    signal?.throwIfAborted();
    const deleting = this.#doSmall(this.#doing("delete", key), async () => {
      await this.#versions.remove(key);
      if (!keptFolders.some((folder) => key.startsWith(folder))) {
        await removeEmptyFolders(dirname(join(this.#root, key)), this.#root);
      }
      return undefined;
    });
    return once ? orUnanswered(deleting) : deleting;
  }

  /** Writes a temporary file, publishes it, and removes it. */
  async #write(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, target: Target): Promise<Answer> {
    target.signal?.throwIfAborted();
    const path = join(this.#temporary, randomUUID());
    const stats = await writeDurably(path, chunks);
    try {
      target.signal?.throwIfAborted();
      return await this.#publish({ path, stats }, target);
    } finally {
      await removeFile(path);
    }
  }

  /** Gives a complete file the name of a key. Its temporary name may be gone afterwards. */
  async #publish(file: Pick<FoundVersion, "path" | "stats">, { key, condition, signal }: Target): Promise<Answer> {
    const path = join(this.#root, key);
    const written = { etag: etagOf(file.stats) };
    const isContent = key.startsWith(contentFolder);
    return inDirectory(dirname(path), async () => {
      const found = await this.#versions.find(key);
      if (condition !== undefined && !holds(condition, found)) return "conflict";
      if (condition === "absent") {
        if (await linkDurably(file.path, path)) return written;
        if (!(await isOtherThanFile(path))) return "conflict";
        if (!isContent) throw notAFile(this.#doing("write", key));
      } else if (found !== undefined && !isContent && (condition !== undefined || found.path !== path)) {
        const answer = await this.#versions.swap({ key, etag: found.etag, file, signal });
        return condition === undefined && answer === "conflict" ? written : answer; // another write followed at once
      }
      await renameDurably(file.path, path); // replaces a link itself, not the file behind the link
      return written;
    });
  }

  /** Does work that must succeed on a full disk too. */
  async #doSmall<Result>(doing: string, work: () => Promise<Result>): Promise<Result> {
    return this.#change(doing, () => this.#reserve.doSmall(work));
  }

  /** Does work that writes `size` bytes, if the disk has room for them beside the reserve. */
  async #doLarge<Result>(doing: string, size: number, work: () => Promise<Result>): Promise<Result> {
    return this.#change(doing, () => this.#reserve.doLarge(size, doing, work));
  }

  async #change<Result>(doing: string, work: () => Promise<Result>): Promise<Result> {
    return guarded(doing, async () => {
      await this.#sweepOnce();
      return work();
    });
  }

  /** Removes the files that killed processes and deletions have left. Runs once. */
  #sweepOnce(): Promise<void> {
    const sweep = async (): Promise<void> => {
      await makeDirectory(this.#temporary);
      await removeOldFiles(this.#temporary, abandonedMs);
      for (const prefix of sweptPrefixes) await this.#versions.sweep(prefix);
      await this.#reserve.fill();
    };
    this.#swept ??= sweep().catch((error: unknown) => {
      this.#swept = undefined;
      throw error;
    });
    return this.#swept;
  }

  /** Names a call in messages. Throws `INPUT_INVALID` if the key could lead out of the directory. */
  #doing(verb: string, key: string): string {
    const doing = `${verb} ${JSON.stringify(key)} in ${this.url}`;
    if (isKey(key)) return doing;
    throw new StowageError(
      "INPUT_INVALID",
      `Cannot ${doing}: a key is segments joined by "/", none empty, none with a dot in front, and no backslash`,
    );
  }
}

type Answer = Awaited<ReturnType<FileVersions["swap"]>>;

interface Target extends CallOptions {
  readonly key: string;
  readonly condition: PutCondition | undefined;
}

/** A file system refuses a write with these codes before it does anything. It would refuse the next try too. */
const refusals: ReadonlySet<unknown> = new Set(["EACCES", "EPERM", "EROFS", "ENOTDIR"]);

/**
 * Turns an error into `unanswered`: a failed call may have been done. For example, a flush can fail after the name was
 * given.
 */
async function orUnanswered<Result>(work: Promise<Result>): Promise<Result | Unanswered> {
  try {
    return await work;
  } catch (error) {
    const isInDoubt = error instanceof StowageError && error.code === "STORE_UNAVAILABLE";
    if (isInDoubt && !refusals.has(error.detail?.["code"])) return { unanswered: error };
    throw error;
  }
}

function infoOf(key: string, { stats, etag }: FoundVersion): ListedObject {
  return { key, size: Number(stats.size), etag, modifiedMs: Number(stats.mtimeMs) };
}

/** Opens the file that was found. Undefined if it was replaced meanwhile. */
async function openFound({ path, stats }: FoundVersion): Promise<FileHandle | undefined> {
  const file = await openFile(path);
  try {
    if (file !== undefined && etagOf(await file.stat({ bigint: true })) === etagOf(stats)) return file;
  } catch (error) {
    await file?.close();
    throw error;
  }
  await file?.close();
  return undefined;
}

function notAFile(doing: string): StowageError {
  return new StowageError("STORE_DAMAGED", `Cannot ${doing}: found a link or a folder there, expected a file`);
}
