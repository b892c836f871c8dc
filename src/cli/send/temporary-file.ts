/**
 * A temporary file for input that cannot be read twice. Its name is removed as soon as the file is open. So the file
 * goes with the process, also after a crash.
 */
import { randomUUID } from "node:crypto";
import { type FileHandle, open, stat, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf, StowageError } from "../../errors.ts";
import type { Environment } from "../../settings/settings.ts";

export interface TemporaryFile {
  readonly handle: FileHandle;
  /** Length in bytes. */
  size(): number;
  /** Appends bytes. */
  append(bytes: Uint8Array): Promise<void>;
}

/**
 * Opens a file in TMPDIR, or in /var/tmp: /tmp is often in memory. The caller closes the handle. Every failure, such as
 * a full disk, is `STORE_UNAVAILABLE`, and the message says what to do.
 */
export async function openTemporaryFile(env: Environment): Promise<TemporaryFile> {
  const folder = await chooseFolder(env);
  const path = join(folder, `stowage-${randomUUID()}`);
  const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw new StowageError(
        "STORE_UNAVAILABLE",
        `Cannot keep the archive in ${folder}: ${messageOf(error)}; TMPDIR names another folder, --direct needs none`,
        { cause: error },
      );
    }
  };
  const handle = await attempt(async () => open(path, "wx+", 0o600));
  await attempt(async () => unlink(path));
  let size = 0;
  return {
    handle,
    size: () => size,
    append: async (bytes) => {
      for (let written = 0; written < bytes.length;) {
        const { bytesWritten } = await attempt(async () => handle.write(bytes, written, bytes.length - written, size));
        written += bytesWritten;
        size += bytesWritten;
      }
    },
  };
}

async function chooseFolder(env: Environment): Promise<string> {
  const named = env["TMPDIR"] ?? "";
  if (named !== "") return named;
  const hasVarTmp = await stat("/var/tmp").then(
    (stats) => stats.isDirectory(),
    () => false,
  );
  return hasVarTmp ? "/var/tmp" : tmpdir();
}
