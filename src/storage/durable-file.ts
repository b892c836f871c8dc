/**
 * Files that survive the loss of power: written under a temporary name, flushed, and only then given the name under
 * which others look for them. The directory store is made of these steps.
 */
import type { BigIntStats } from "node:fs";
import { type FileHandle, link, mkdir, open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { hasCode } from "./file-errors.ts";
import { removeFile } from "./files.ts";

/** Writes and flushes a file that must not be there yet. Rejects with the error of the chunks, and leaves no file. */
export async function writeDurably(
  path: string,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<BigIntStats> {
  const file = await open(path, "wx");
  try {
    try {
      for await (const chunk of chunks) await writeWhole(file, chunk);
      await file.sync();
      return await file.stat({ bigint: true });
    } finally {
      await file.close();
    }
  } catch (error) {
    await removeFile(path).catch(() => {}); // why it could not be written says more
    throw error;
  }
}

/** Gives a file one more name, unless that name is taken: `false`. */
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

/** Moves a file over whatever has the name. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncDirectory(dirname(to));
}

/** Makes a directory and its parents, unless they are there. */
export async function makeDirectory(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) await syncDirectory(dirname(made));
}

/** Flushes the names in a directory. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await open(path, "r");
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  } catch (error) {
    // Windows and some network file systems cannot flush a directory, and need no such thing.
    if (!hasCode(error, "EISDIR", "EPERM", "EINVAL", "ENOTSUP")) throw error;
  }
}

async function writeWhole(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let offset = 0; offset < chunk.length;) {
    offset += (await file.write(chunk, offset, chunk.length - offset)).bytesWritten;
  }
}
