/**
 * Keeps room for the small writes that free space. Removing an image writes an index, and deleting a blob writes a
 * mark. On a full disk both would fail, and the disk would stay full.
 *
 * So a store keeps a file of 1 MiB with random bytes. If a small write finds the disk full, the file is removed and the
 * write is done again. Then the file is filled again. Other writes leave that room free.
 */
import { randomBytes } from "node:crypto";
import { open, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { StowageError } from "../../errors.ts";
import { isDiskFull, isSystemError } from "./file-errors.ts";
import { removeFile, statFile } from "./files.ts";

/** Enough for an index of some thousand images, or for the marks of about 250 blobs. */
const reserveBytes = 1024 * 1024;
const chunkBytes = 64 * 1024;

export class ReserveFile {
  readonly #path: string;
  /** Settles when the last work in the room of the reserve is done. */
  #lastTurn: Promise<unknown> = Promise.resolve();

  /** The folder of the file must exist before `fill`. */
  constructor(path: string) {
    this.#path = path;
  }

  /**
   * Does work that writes little. If the disk is full, the work is done again in the room of the reserve, one work at a
   * time.
   */
  async doSmall<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      if (!isDiskFull(error)) throw error;
    }
    const turn = this.#lastTurn.then(async () => {
      await removeFile(this.#path);
      try {
        return await work();
      } finally {
        await this.fill();
      }
    });
    this.#lastTurn = turn.catch(() => undefined);
    return turn;
  }

  /**
   * Does work that writes `size` bytes. `doing` names the work in messages. Throws `STORE_FULL` if the disk has no room
   * for these bytes and for the bytes that the reserve lacks. If other writers fill the disk during the work, the
   * reserve is filled again from the room that is left.
   */
  async doLarge<Result>(size: number, doing: string, work: () => Promise<Result>): Promise<Result> {
    await this.#checkSpace(size, doing);
    try {
      return await work();
    } catch (error) {
      if (isDiskFull(error)) await this.fill();
      throw error;
    }
  }

  /**
   * Fills the file up to its full size, or as far as the disk allows. The bytes are random, because a file system could
   * compress zeros.
   */
  async fill(): Promise<void> {
    try {
      let size = await this.#size();
      if (size >= reserveBytes) return;
      const file = await open(this.#path, "a");
      try {
        while (size < reserveBytes) size += (await file.write(randomBytes(chunkBytes))).bytesWritten;
      } finally {
        await file.close();
      }
    } catch (error) {
      if (!isSystemError(error)) throw error; // the store works without a reserve, until the disk is full
    }
  }

  async #checkSpace(size: number, doing: string): Promise<void> {
    const [free, reserved] = await Promise.all([freeBytes(dirname(this.#path)), this.#size()]);
    const expected = size + Math.max(0, reserveBytes - reserved);
    if (free === undefined || free >= expected) return;
    const message = `Cannot ${doing}: the disk is full (${free} bytes are free, ${expected} are needed)`;
    throw new StowageError("STORE_FULL", message, { detail: { found: free, expected } });
  }

  async #size(): Promise<number> {
    return Number((await statFile(this.#path))?.size ?? 0);
  }
}

/** Bytes that this user may still write. Undefined if the file system does not say it, as some network file systems. */
async function freeBytes(folder: string): Promise<number | undefined> {
  try {
    const { bavail, bsize, blocks } = await statfs(folder);
    return blocks === 0 ? undefined : bavail * bsize;
  } catch (error) {
    if (isSystemError(error)) return undefined;
    throw error;
  }
}
