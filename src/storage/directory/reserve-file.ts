/**
 * Room for the small writes by which space is freed. To remove an image an index is written, to delete a blob a mark: on a
 * full disk neither could be, and the disk would stay full. So a store keeps a file of one mebibyte that holds nothing. A
 * small write that finds the disk full is done once more in the room of that file, which is filled again afterwards. Other
 * writes leave that room free while it is lent.
 */
import { randomBytes } from "node:crypto";
import { open, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { StowageError } from "../../errors.ts";
import { isDiskFull, isSystemError } from "./file-errors.ts";
import { removeFile, statFile } from "./files.ts";

/** Enough for an index of some thousand images, or for the marks of some 250 blobs. */
const reserveBytes = 1024 * 1024;
const chunkBytes = 64 * 1024;

export class ReserveFile {
  readonly #path: string;
  /** Settles when the last of those who work in the room of the reserve is done. */
  #lastTurn: Promise<unknown> = Promise.resolve();

  /** The folder of the file has to be there before it is filled. */
  constructor(path: string) {
    this.#path = path;
  }

  /** Does work that writes little. Where the disk is full it is done once more, one at a time, in the room of the reserve. */
  async lend<Result>(work: () => Promise<Result>): Promise<Result> {
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
   * Does work that writes `size` bytes, which `doing` names. Throws `STORE_FULL` unless there is room for them and for the
   * bytes that the reserve lacks. If others fill the disk meanwhile, the reserve takes back the room that the work leaves.
   */
  async spare<Result>(size: number, doing: string, work: () => Promise<Result>): Promise<Result> {
    await this.#checkRoom(size, doing);
    try {
      return await work();
    } catch (error) {
      if (isDiskFull(error)) await this.fill();
      throw error;
    }
  }

  /** Makes the file as large as it should be, or as it can be. Random bytes: a file system could compress zeros away. */
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
      if (!isSystemError(error)) throw error; // a store without a reserve is one that a full disk stops
    }
  }

  async #checkRoom(size: number, doing: string): Promise<void> {
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

/** What this user may still write; undefined where the file system does not say, as some network file systems. */
async function freeBytes(folder: string): Promise<number | undefined> {
  try {
    const { bavail, bsize, blocks } = await statfs(folder);
    return blocks === 0 ? undefined : bavail * bsize;
  } catch (error) {
    if (isSystemError(error)) return undefined;
    throw error;
  }
}
