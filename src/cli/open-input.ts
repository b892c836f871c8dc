/** Opens what `stowage load` reads: a file, a pipe that has a path, or standard input. */
import { close as closeFile, createReadStream, fstat, open } from "node:fs";
import { Socket } from "node:net";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { StowageError, messageOf } from "../errors.ts";
import type { Input } from "./command.ts";

/** The default of 64 KiB takes four times the calls. */
const chunkBytes = 256 * 1024;

export interface OpenInput {
  /** For messages. */
  readonly name: string;
  readonly source: AsyncIterable<Uint8Array>;
  /** Length in bytes, where it is known beforehand. */
  readonly size: number | undefined;
  /** Lets go of it, also in the middle and also while it stalls. */
  close(): void;
}

/** Opens `-` or a path. Throws `INPUT_INVALID` if there is nothing to read. */
export async function openInput(path: string, stdin: Input): Promise<OpenInput> {
  if (path === "-") {
    if (stdin.isTTY !== true) {
      return { name: "standard input", source: stdin, size: undefined, close: () => void stdin.destroy() };
    }
    throw new StowageError(
      "INPUT_INVALID",
      "standard input is a terminal, expected a tarball, such as from `docker save app | stowage load -`",
    );
  }
  const { stream, size } = await openPath(path);
  return { name: path, source: stream, size, close: () => void stream.destroy() };
}

async function openPath(path: string): Promise<{ readonly stream: Readable; readonly size: number | undefined }> {
  const fd = await promisify(open)(path, "r").catch((error: unknown) => {
    throw unreadable(path, isMissing(error) ? "there is no such file" : messageOf(error), error);
  });
  const stats = await promisify(fstat)(fd);
  // A read of a pipe cannot be called off, and the process would not end before it does; a socket's can.
  if (stats.isFIFO()) return { stream: new Socket({ fd, readable: true, writable: false }), size: undefined };
  if (stats.isDirectory()) {
    await promisify(closeFile)(fd);
    throw unreadable(path, "it is a directory, expected a tarball; `tar -C DIR -cf - . | stowage load -` makes one");
  }
  const stream = createReadStream(path, { fd, highWaterMark: chunkBytes });
  return { stream, size: stats.isFile() ? stats.size : undefined };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function unreadable(path: string, reason: string, cause?: unknown): StowageError {
  return new StowageError("INPUT_INVALID", `Cannot read ${JSON.stringify(path)}: ${reason}`, { cause });
}
