/**
 * A directory as a store: where Stowage keeps images when it is told nothing else. Several processes may share it, and
 * each of them may be killed at any moment.
 *
 *     <root>/<key>                       every object, a plain file: for other tools the directory is an image layout
 *     <root>/.stowage/tmp/<uuid>         objects that are being written
 *     <root>/.stowage/versions/…         objects that have been swapped (`file-versions.ts`)
 *     <root>/.stowage/reserve            room for what frees space on a full disk (`reserve-file.ts`)
 *
 * An object is written and flushed under `tmp` and then linked to its key. A name can be linked once: whoever finds it
 * taken has lost. So a key never names half an object, and a killed process leaves nothing but a file under `tmp`, which
 * is removed once it is an hour old, when a process first writes.
 *
 * A folder that is empty once its last object is deleted goes as well, but for those of blobs and of incoming tarballs.
 * Other tools may read the directory at any time, and write blobs into it; an index that Stowage has swapped is its own. A
 * link in the place of an object is not followed: there is no such object, and a blob that is written replaces the link.
 */
import { randomUUID } from "node:crypto";
import type { BigIntStats } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { StowageError } from "../../errors.ts";
import { abortable } from "../../streams/abortable.ts";
import { exactly } from "../../streams/verify-bytes.ts";
import { blobKey, condemnedPrefix, incomingPrefix, stagingPrefix } from "../keys.ts";
import type {
  BlobIdentity,
  BlobSource,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  PutBlobOptions,
  PutBlobResult,
  PutCondition,
  StagedResult,
  StagedSource,
  StoredObject,
} from "../object-store.ts";
import { inDirectory, linkDurably, makeDirectory, renameDurably, writeDurably } from "./durable-file.ts";
import { FileBody, fileReadBytes } from "./file-body.ts";
import { fromSource, guarded } from "./file-errors.ts";
import { isKey, listFileKeys } from "./file-keys.ts";
import { type FoundFile, etagOf, FileVersions } from "./file-versions.ts";
import { isOtherThanFile, openFile, removeEmptyFolders, removeFile, removeOldFiles } from "./files.ts";
import { ReserveFile } from "./reserve-file.ts";

const ownFolder = ".stowage";
/** A file that nobody has written to for so long has lost its process. */
const abandonedMs = 60 * 60 * 1000;
/** Where objects that have been swapped are deleted: marks, and the probe's. */
const sweptPrefixes = [condemnedPrefix, stagingPrefix];
/** Below these no folder is removed: an image layout has `blobs`, and users put tarballs into `incoming`. */
const keptFolders = ["blobs/", incomingPrefix];

/** A directory as a store; several processes may share it. */
export class DirectoryStore implements ObjectStore {
  readonly url: string;
  readonly partBytes = 8 * 1024 * 1024;
  readonly #root: string;
  readonly #temporary: string;
  readonly #versions: FileVersions;
  readonly #reserve: ReserveFile;
  #swept: Promise<void> | undefined;

  /** The directory is made when it is first written to. */
  constructor(path: string) {
    if (path === "") throw new StowageError("INPUT_INVALID", "Cannot open a directory store: its path is empty");
    this.url = `file:${path}`;
    this.#root = resolve(path);
    this.#temporary = join(this.#root, ownFolder, "tmp");
    this.#versions = new FileVersions(this.#root, join(this.#root, ownFolder, "versions"));
    this.#reserve = new ReserveFile(join(this.#root, ownFolder, "reserve"));
  }

  /** Nothing beside the chunk that is being written. */
  streamBufferBytes(): number {
    return fileReadBytes;
  }

  promoteBufferBytes(): number {
    return 0;
  }

  async head(key: string, { signal }: CallOptions = {}): Promise<ObjectInfo | undefined> {
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
        if (file === undefined) continue; // it has been replaced: look again
        const info = infoOf(key, found);
        const { start, end } = range ?? { start: 0, end: info.size };
        return { ...info, body: new FileBody(file, { start, stop: Math.min(end + 1, info.size), doing, signal }) };
      }
    });
  }

  async putBlob(blob: BlobSource, { replaces, signal }: PutBlobOptions = {}): Promise<PutBlobResult> {
    const key = blobKey(blob.digest);
    const { body, size } = blob;
    const source = body instanceof Uint8Array ? [body] : fromSource(abortable(body, signal));
    const chunks = exactly(source, { size, what: `blob "${blob.digest}"` });
    const outcome = await this.#write(key, { chunks, size, signal }, ({ temporary }) =>
      this.#publishBlob(temporary, { key, replaces }),
    );
    return { outcome, parts: 0 };
  }

  async putIf(
    key: string,
    bytes: Uint8Array,
    condition: PutCondition,
    { signal }: CallOptions = {},
  ): Promise<{ readonly etag: string } | "conflict"> {
    signal?.throwIfAborted();
    if (condition !== "absent") {
      const { etag } = condition;
      return this.#doSmall(this.#doing("write", key), async () => this.#versions.swap({ key, bytes, etag, signal }));
    }
    if ((await this.head(key, { signal })) !== undefined) return "conflict";
    return this.#write(key, { chunks: [bytes], signal }, async ({ temporary, path, written }) => {
      if (await linkDurably(temporary, path)) return { etag: etagOf(written) };
      if (await isOtherThanFile(path)) throw notAFile(this.#doing("write", key));
      return "conflict";
    });
  }

  async put(key: string, bytes: Uint8Array, { signal }: CallOptions = {}): Promise<void> {
    const { length: size } = bytes;
    await this.#write(key, { chunks: [bytes], size, signal }, ({ temporary, path }) => renameDurably(temporary, path));
  }

  async putStaged({ key, size, body }: StagedSource, { signal }: CallOptions = {}): Promise<StagedResult> {
    const chunks = exactly(fromSource(abortable(body, signal)), { size, what: JSON.stringify(key) });
    await this.#write(key, { chunks, size, signal }, ({ temporary, path }) => renameDurably(temporary, path));
    return { parts: 0 };
  }

  /** Nothing is copied: the file gets the blob's name, too. */
  async promote(stagedKey: string, { digest }: BlobIdentity, options: PutBlobOptions = {}): Promise<PutBlobResult> {
    const { replaces, signal } = options;
    signal?.throwIfAborted();
    const key = blobKey(digest);
    const staged = join(this.#root, stagedKey);
    const outcome = await guarded(this.#doing("link", stagedKey), async () =>
      inDirectory(dirname(join(this.#root, key)), async () => this.#publishBlob(staged, { key, replaces })),
    );
    return { outcome, parts: 0 };
  }

  async *list(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<ObjectInfo> {
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

  async delete(key: string, { signal }: CallOptions = {}): Promise<void> {
    signal?.throwIfAborted();
    await this.#doSmall(this.#doing("delete", key), async () => {
      await this.#versions.remove(key);
      if (!keptFolders.some((folder) => key.startsWith(folder))) {
        await removeEmptyFolders(dirname(join(this.#root, key)), this.#root);
      }
    });
  }

  /** Gives a whole file the name of a blob. Its own name may be gone afterwards. */
  async #publishBlob(
    file: string,
    { key, replaces }: { key: string; replaces: string | undefined },
  ): Promise<BlobOutcome> {
    const path = join(this.#root, key);
    // Whoever else replaces the same damaged blob writes the same bytes: it does not matter who is last.
    const damaged = replaces !== undefined && (await this.#versions.find(key))?.etag === replaces;
    if (!damaged && (await linkDurably(file, path))) return "written";
    if (!damaged && !(await isOtherThanFile(path))) return "present";
    await renameDurably(file, path); // over the link itself, where there is one, not over what it leads to
    return "written";
  }

  /** Writes a temporary file, hands it to `publish`, and removes it. What is small may be written twice. */
  async #write<Result>(
    key: string,
    { chunks, size, signal }: WrittenChunks,
    publish: (file: WrittenFile) => Promise<Result>,
  ): Promise<Result> {
    const doing = this.#doing("write", key);
    const write = async (): Promise<Result> => {
      signal?.throwIfAborted();
      if (size !== undefined) await this.#reserve.checkRoom(size, doing);
      const temporary = join(this.#temporary, randomUUID());
      const written = await writeDurably(temporary, chunks);
      try {
        signal?.throwIfAborted();
        const path = join(this.#root, key);
        return await inDirectory(dirname(path), async () => publish({ temporary, path, written }));
      } finally {
        await removeFile(temporary);
      }
    };
    return size === undefined
      ? this.#doSmall(doing, write)
      : this.#change(doing, () => this.#reserve.refillAfter(write));
  }

  /** Does what a full disk must not stop. */
  async #doSmall<Result>(doing: string, work: () => Promise<Result>): Promise<Result> {
    return this.#change(doing, () => this.#reserve.lend(work));
  }

  async #change<Result>(doing: string, work: () => Promise<Result>): Promise<Result> {
    return guarded(doing, async () => {
      await this.#sweepOnce();
      return work();
    });
  }

  /** Removes what killed processes, and deletions, have left, once. */
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

type BlobOutcome = PutBlobResult["outcome"];

interface WrittenChunks extends CallOptions {
  readonly chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  /** How many bytes they are; left out of what is small, in memory, and may be written in the room of the reserve. */
  readonly size?: number;
}

interface WrittenFile {
  readonly temporary: string;
  /** Where it is to be published; its folder is there. */
  readonly path: string;
  readonly written: BigIntStats;
}

function infoOf(key: string, { stats, etag }: FoundFile): ObjectInfo {
  return { key, size: Number(stats.size), etag };
}

/** Opens the very file that was found; undefined if it has been replaced in between. */
async function openFound({ path, stats }: FoundFile): Promise<FileHandle | undefined> {
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
