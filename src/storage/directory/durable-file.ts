/**
 * Steps for files that survive a loss of power: a file is written under a temporary name and flushed, and only then
 * gets its real name.
 */
import type { BigIntStats } from "node:fs";
import { type FileHandle, link, mkdir, open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { hasCode } from "./file-errors.ts";
import { removeFile } from "./files.ts";

/**
 * Writes and flushes a new file, and makes its folder. Rejects if the file exists. After an error of the chunks,
 * rejects with that error and leaves no file.
 */
export async function writeDurably(
  path: string,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<BigIntStats> {
  const file = await openNew(path);
  try {
    try {
      for await (const chunk of chunks) await writeWhole(file, chunk);
      await file.sync();
      return await file.stat({ bigint: true });
    } finally {
      await file.close();
    }
  } catch (error) {
    await removeFile(path).catch(() => {}); // the error of the write says more
    throw error;
  }
}

/** Opens a new file. Makes the folder if it is missing: another process may have removed the empty folder. */
async function openNew(path: string): Promise<FileHandle> {
  try {
    return await open(path, "wx");
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
  return inDirectory(dirname(path), async () => open(path, "wx"));
}

/** Gives a file one more name. Returns false if that name is taken. */
export async function linkDurably(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    throw error;
  }
  await syncDirectory(dirname(to));
  return true;
}

/** Gives a file another name. A file that has the name is replaced. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncDirectory(dirname(to));
}

/** The number of tries in a folder that other processes remove while it is empty. */
const maxTries = 10;

/**
 * Makes a directory and the parents that are missing, one after the other. Node's own `recursive` never ends below an
 * existing folder that accepts no folders, such as `/proc`.
 */
export async function makeDirectory(path: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await mkdir(path);
      return await syncDirectory(dirname(path));
    } catch (error) {
      if (hasCode(error, "EEXIST", "EISDIR")) return; // if it is a file, the next step in it fails
      if (!hasCode(error, "ENOENT") || tries === maxTries) throw error;
    }
    await makeDirectory(dirname(path));
  }
}

/** Makes a folder and does work in it. Does it again if another process has removed the empty folder meanwhile. */
export async function inDirectory<Result>(path: string, work: () => Promise<Result>): Promise<Result> {
  for (let tries = 1; ; tries++) {
    await makeDirectory(path);
    try {
      return await work();
    } catch (error) {
      if (!hasCode(error, "ENOENT") || tries === maxTries) throw error;
    }
  }
}

/** Flushes the names in a directory. A directory that is gone needs no flush. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await open(path, "r");
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  } catch (error) {
    // Windows and some network file systems cannot flush a directory, and need no flush.
    if (!hasCode(error, "EISDIR", "EPERM", "EINVAL", "ENOTSUP", "ENOENT")) throw error;
  }
}

async function writeWhole(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let offset = 0; offset < chunk.length;) {
    offset += (await file.write(chunk, offset, chunk.length - offset)).bytesWritten;
  }
}
