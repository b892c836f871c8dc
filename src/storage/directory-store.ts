/**
 * A directory as a store: where Stowage keeps images when it is told nothing else. Several processes may share it, and
 * each of them may be killed at any moment.
 *
 *     <root>/<key>                       every object, a plain file: for other tools the directory is an image layout
 *     <root>/.stowage/tmp/<uuid>         objects that are being written
 *     <root>/.stowage/versions/…         objects that have been swapped (`file-versions.ts`)
 *
 * An object is written and flushed under `tmp` and then linked to its key. A name can be linked once: whoever finds it
 * taken has lost. So a key never names half an object, and a killed process leaves nothing but a file under `tmp`, which
 * is removed once it is an hour old, when a process first writes.
 *
 * Other tools may read the directory at any time, and write blobs into it; an index that Stowage has swapped is its own.
 */
import { Buffer } from "node:buffer";
import { randomUUID } from "node:crypto";
import type { BigIntStats } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { StowageError } from "../errors.ts";
import { abortable } from "../streams/abortable.ts";
import { linkDurably, makeDirectory, renameDurably, writeDurably } from "./durable-file.ts";
import { FileBody, fileReadBytes } from "./file-body.ts";
import { fromSource, guarded } from "./file-errors.ts";
import { openFile, readFolder, removeFile, statFile } from "./files.ts";
import { FileVersions, type FoundFile, etagOf } from "./file-versions.ts";
import { blobKey } from "./keys.ts";
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
} from "./object-store.ts";

const ownFolder = ".stowage";
/** A file that nobody has written to for so long has lost its process. */
const abandonedMs = 60 * 60 * 1000;

/** A directory as a store; several processes may share it. */
export class DirectoryStore implements ObjectStore {
  readonly url: string;
  readonly partBytes = 8 * 1024 * 1024;
  readonly #root: string;
  readonly #temporary: string;
  readonly #versions: FileVersions;
  #swept: Promise<void> | undefined;

  /** The directory is made when it is first written to. */
  constructor(path: string) {
    if (path === "") throw new StowageError("INPUT_INVALID", "Cannot open a directory store: its path is empty");
    this.url = `file:${path}`;
    this.#root = resolve(path);
    this.#temporary = join(this.#root, ownFolder, "tmp");
    this.#versions = new FileVersions(this.#root, join(this.#root, ownFolder, "versions"));
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
    const outcome = await this.#write(key, { chunks, signal }, ({ temporary }) =>
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
      return guarded(this.#doing("write", key), () => this.#versions.swap({ key, bytes, etag, signal }));
    }
    if ((await this.head(key, { signal })) !== undefined) return "conflict";
    return this.#write(key, { chunks: [bytes], signal }, async ({ temporary, path, written }) =>
      (await linkDurably(temporary, path)) ? { etag: etagOf(written) } : "conflict",
    );
  }

  async put(key: string, bytes: Uint8Array, { signal }: CallOptions = {}): Promise<void> {
    await this.#write(key, { chunks: [bytes], signal }, ({ temporary, path }) => renameDurably(temporary, path));
  }

  async putStaged({ key, size, body }: StagedSource, { signal }: CallOptions = {}): Promise<StagedResult> {
    const chunks = exactly(fromSource(abortable(body, signal)), { size, what: JSON.stringify(key) });
    await this.#write(key, { chunks, signal }, ({ temporary, path }) => renameDurably(temporary, path));
    return { parts: 0 };
  }

  /** Nothing is copied: the file gets the blob's name, too. */
  async promote(stagedKey: string, { digest }: BlobIdentity, options: PutBlobOptions = {}): Promise<PutBlobResult> {
    const { replaces, signal } = options;
    signal?.throwIfAborted();
    const key = blobKey(digest);
    const outcome = await guarded(this.#doing("link", stagedKey), async () => {
      await makeDirectory(dirname(join(this.#root, key)));
      return this.#publishBlob(join(this.#root, stagedKey), { key, replaces });
    });
    return { outcome, parts: 0 };
  }

  async *list(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<ObjectInfo> {
    signal?.throwIfAborted();
    yield* this.#listFolder(prefix.slice(0, prefix.lastIndexOf("/") + 1), { prefix, signal });
  }

  async delete(key: string, { signal }: CallOptions = {}): Promise<void> {
    signal?.throwIfAborted();
    await guarded(this.#doing("delete", key), () => this.#versions.remove(key));
  }

  /** Gives a whole file the name of a blob. Its own name may be gone afterwards. */
  async #publishBlob(
    file: string,
    { key, replaces }: { key: string; replaces: string | undefined },
  ): Promise<BlobOutcome> {
    const path = join(this.#root, key);
    // Whoever else replaces the same damaged blob writes the same bytes: it does not matter who is last.
    const damaged = replaces !== undefined && (await this.#versions.find(key))?.etag === replaces;
    if (damaged) await renameDurably(file, path);
    return damaged || (await linkDurably(file, path)) ? "written" : "present";
  }

  /** Writes a temporary file, hands it to `publish`, and removes it. */
  async #write<Result>(
    key: string,
    { chunks, signal }: { chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array> } & CallOptions,
    publish: (file: WrittenFile) => Promise<Result>,
  ): Promise<Result> {
    return guarded(this.#doing("write", key), async () => {
      signal?.throwIfAborted();
      await makeDirectory(this.#temporary);
      await this.#sweep();
      const temporary = join(this.#temporary, randomUUID());
      const written = await writeDurably(temporary, chunks);
      try {
        signal?.throwIfAborted();
        const path = join(this.#root, key);
        await makeDirectory(dirname(path));
        return await publish({ temporary, path, written });
      } finally {
        await removeFile(temporary);
      }
    });
  }

  /** Removes what killed processes left, once. */
  #sweep(): Promise<void> {
    this.#swept ??= removeAbandoned(this.#temporary).catch((error: unknown) => {
      this.#swept = undefined;
      throw error;
    });
    return this.#swept;
  }

  /** `folder` is empty or ends with a slash. Holds the names of one folder at each level. */
  async *#listFolder(folder: string, options: { prefix: string } & CallOptions): AsyncGenerator<ObjectInfo> {
    const { prefix, signal } = options;
    if (folder !== "" && !isKey(folder.slice(0, -1))) return;
    for (const name of await guarded(`list ${this.url}`, () => readNames(join(this.#root, folder)))) {
      signal?.throwIfAborted();
      const key = folder + name;
      if (key.endsWith("/")) {
        if (key.startsWith(prefix) || prefix.startsWith(key)) yield* this.#listFolder(key, options);
      } else if (key.startsWith(prefix)) {
        const info = await this.head(key, { signal });
        if (info !== undefined) yield info;
      }
    }
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

interface WrittenFile {
  readonly temporary: string;
  /** Where it is to be published; its folder is there. */
  readonly path: string;
  readonly written: BigIntStats;
}

/** So that no key leaves the root or names what is Stowage's own. */
function isKey(key: string): boolean {
  return key.split("/").every((segment) => /^[^.\\\0][^\\\0]*$/.test(segment));
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

/** The chunks of `what`, if they are of that size together. */
async function* exactly(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  { size, what }: { readonly size: number; readonly what: string },
): AsyncGenerator<Uint8Array> {
  let received = 0;
  for await (const chunk of chunks) {
    received += chunk.length;
    if (received > size) break;
    yield chunk;
  }
  if (received === size) return;
  const found = received > size ? `more than ${size} bytes` : `${received} bytes`;
  throw new StowageError("SIZE_INVALID", `Cannot store ${what}: received ${found}, expected ${size}`, {
    detail: { expected: size },
  });
}

/** The names in a folder, folders with a slash behind, in the order of the keys that they begin. */
async function readNames(path: string): Promise<readonly string[]> {
  const entries = await readFolder(path);
  const names = entries.filter(({ name }) => isKey(name)).map((entry) => entry.name + (entry.isDirectory() ? "/" : ""));
  return names
    .map((name) => ({ name, bytes: Buffer.from(name) }))
    .toSorted((a, b) => Buffer.compare(a.bytes, b.bytes))
    .map(({ name }) => name);
}

async function removeAbandoned(folder: string): Promise<void> {
  for (const { name } of await readFolder(folder)) {
    const path = join(folder, name);
    const stats = await statFile(path);
    if (stats !== undefined && Date.now() - Number(stats.mtimeMs) > abandonedMs) await removeFile(path);
  }
}
