/** Opens what `stowage export` writes: a file, or standard output. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { StowageError, messageOf } from "../errors.ts";
import type { Output } from "./command.ts";

export interface OpenOutput {
  /** For messages. */
  readonly name: string;
  write(bytes: Uint8Array): Promise<void>;
  /** Makes the file visible under its name. Call it once, after the last byte. */
  commit(): Promise<void>;
  /** Leaves no file behind, unless `commit` was called. */
  close(): Promise<void>;
}

/** Opens `-` or a path. Throws `INPUT_INVALID` for a terminal, and for a path that cannot be written. */
export async function openOutput(path: string, stdout: Output): Promise<OpenOutput> {
  if (path !== "-") return openFile(path);
  if (stdout.isTTY !== true) return openStream(stdout);
  throw new StowageError(
    "INPUT_INVALID",
    "standard output is a terminal, expected -o FILE, or a pipe such as `| docker load`",
  );
}

/** The file appears under its name when it is whole. A pipe or a device is written as it is. */
async function openFile(path: string): Promise<OpenOutput> {
  const isSpecial = await stat(path).then(
    (stats) => !stats.isFile(),
    () => false,
  );
  const temporary = isSpecial ? path : `${path}.${randomUUID()}.partial`;
  const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw new StowageError("INPUT_INVALID", `Cannot write ${JSON.stringify(path)}: ${messageOf(error)}`, {
        cause: error,
      });
    }
  };
  const file: FileHandle = await attempt(async () => open(temporary, "w"));
  let isCommitted = isSpecial;
  return {
    name: path,
    write: async (bytes) => {
      for (let written = 0; written < bytes.length;) {
        const { bytesWritten } = await attempt(async () => file.write(bytes, written));
        written += bytesWritten;
      }
    },
    commit: async () => {
      if (isSpecial) return;
      await attempt(async () => file.datasync());
      await attempt(async () => rename(temporary, path));
      isCommitted = true;
    },
    close: async () => {
      await file.close();
      if (!isCommitted) await rm(temporary, { force: true });
    },
  };
}

function openStream(stdout: Output): OpenOutput {
  return {
    name: "standard output",
    write: async (bytes) => {
      if (!stdout.write(bytes)) await once(stdout, "drain");
    },
    commit: async () => undefined,
    close: async () => undefined,
  };
}
