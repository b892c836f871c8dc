/** Opens what `stowage load` reads: a file, a pipe that has a path, or standard input. */
import { open as openFd } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { Socket } from "node:net";
import { promisify } from "node:util";
import { StowageError, messageOf } from "../errors.ts";
import type { Input } from "./command.ts";

/** Measured: the default of 64 KiB takes four times the calls. */
const chunkBytes = 256 * 1024;

export interface OpenInput {
  /** For messages. */
  readonly name: string;
  /** The bytes, to be read once. */
  readonly source: AsyncIterable<Uint8Array>;
  /** Length in bytes, if it is known before reading. */
  readonly size: number | undefined;
  /** The file, which can be read again. Undefined for a pipe. */
  readonly file: FileHandle | undefined;
  /** Closes the input, also in the middle of a read. */
  close(): Promise<void>;
}

/** Opens `-` or a path. Throws `INPUT_INVALID` if there is nothing to read. */
export async function openInput(path: string, stdin: Input): Promise<OpenInput> {
  if (path !== "-") return openPath(path);
  if (stdin.isTTY !== true) return openStream("standard input", stdin);
  throw new StowageError(
    "INPUT_INVALID",
    "standard input is a terminal, expected a tarball, such as from `docker save app | stowage load -`",
  );
}

async function openPath(path: string): Promise<OpenInput> {
  try {
    const stats = await stat(path);
    if (stats.isDirectory()) throw new Error(directoryReason);
    // Node cannot cancel a read of a named pipe as a file, and the process would wait for it. As a socket, it can.
    if (stats.isFIFO()) {
      const fd = await promisify(openFd)(path, "r");
      return openStream(path, new Socket({ fd, readable: true, writable: false }));
    }
    const file = await open(path, "r");
    const source = file.createReadStream({ start: 0, autoClose: false, highWaterMark: chunkBytes });
    const close = async (): Promise<void> => {
      source.destroy();
      await file.close();
    };
    if (stats.isFile()) return { name: path, source, size: stats.size, file, close };
    return { name: path, source, size: undefined, file: undefined, close };
  } catch (error) {
    const reason = isMissing(error) ? "there is no such file" : messageOf(error);
    throw new StowageError("INPUT_INVALID", `Cannot read ${JSON.stringify(path)}: ${reason}`, { cause: error });
  }
}

const directoryReason = "it is a directory, expected a tarball; `tar -C DIR -cf - . | stowage load -` makes one";

function openStream(name: string, stream: Input): OpenInput {
  const close = async (): Promise<void> => void stream.destroy();
  return { name, source: stream, size: undefined, file: undefined, close };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
