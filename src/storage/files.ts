/** Files that need not be there: absence is an answer, not an error. */
import type { BigIntStats, Dirent } from "node:fs";
import { type FileHandle, open, readdir, stat, unlink } from "node:fs/promises";
import { isAbsence } from "./file-errors.ts";

/** What is known of a file; undefined where there is none, or something else. */
export async function statFile(path: string): Promise<BigIntStats | undefined> {
  const found = await unlessAbsent(stat(path, { bigint: true }));
  return found?.isFile() === true ? found : undefined;
}

export function openFile(path: string): Promise<FileHandle | undefined> {
  return unlessAbsent(open(path, "r"));
}

/** What is in a folder, in no order; nothing where there is none. */
export async function readFolder(path: string): Promise<readonly Dirent[]> {
  return (await unlessAbsent(readdir(path, { withFileTypes: true }))) ?? [];
}

export function removeFile(path: string): Promise<void> {
  return unlessAbsent(unlink(path));
}

async function unlessAbsent<Result>(work: Promise<Result>): Promise<Result | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}
