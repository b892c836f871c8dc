/**
 * The first pass over an archive: is it whole, and which entries does it have? A file is read in its place. Other input
 * is copied into a temporary file while it is read.
 */
import type { FileHandle } from "node:fs/promises";
import { type ArchiveEntry, type ReadArchiveOptions, readArchive } from "../../archive/read-archive.ts";
import { type Digest, digestUnder } from "../../digest.ts";
import { abortable } from "../../streams/abortable.ts";
import type { CommandIo } from "../command.ts";
import { formatBytes } from "../format.ts";
import type { OpenInput } from "../open-input.ts";
import { reportChunks, startProgress } from "../progress.ts";
import type { TemporaryFile } from "./temporary-file.ts";

/** The service decides which archives it accepts. These limits only bound the memory for the list of entries here. */
export const scanLimits: ReadArchiveOptions = {
  maxEntries: 1_000_000,
  maxPaxBytes: Number.POSITIVE_INFINITY,
  maxExpansionRatio: Number.POSITIVE_INFINITY,
  maxExpandedBytes: Number.POSITIVE_INFINITY,
};

export interface ListedEntry {
  /** Length of its body in bytes. */
  readonly size: number;
  /** Undefined if the entry's path is not that of a blob. */
  readonly digest: Digest | undefined;
}

export interface ScannedArchive {
  readonly file: FileHandle;
  /** Length in bytes, compressed or not. */
  readonly size: number;
  readonly entries: readonly ListedEntry[];
}

/**
 * An archive that comes through a pipe goes to a temporary file. Throws the first error of the archive, or the signal's
 * reason.
 */
export async function scanInput(
  input: OpenInput,
  {
    io,
    openTemporary,
  }: { readonly io: Pick<CommandIo, "stderr" | "signal">; readonly openTemporary: () => Promise<TemporaryFile> },
): Promise<ScannedArchive> {
  const { name, file, size } = input;
  const length = size === undefined ? "" : ` (${formatBytes(size)})`;
  const progress = startProgress(io.stderr, { title: `Reading ${name}${length}`, totalBytes: size });
  try {
    const source = abortable(
      reportChunks(input.source, (bytes) => progress.advance(bytes)),
      io.signal,
    );
    if (file !== undefined && size !== undefined) return { file, size, entries: await scanArchive(source) };
    const copy = await openTemporary();
    const entries = await scanArchive(keep(source, copy));
    return { file: copy.handle, size: copy.size(), entries };
  } finally {
    progress.stop();
  }
}

async function* keep(source: AsyncIterable<Uint8Array>, copy: TemporaryFile): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    await copy.append(chunk);
    yield chunk;
  }
}

/** Reads an archive to its end and skips the bodies. Throws what `readArchive` throws. */
export async function scanArchive(source: AsyncIterable<Uint8Array>): Promise<readonly ListedEntry[]> {
  const entries: ListedEntry[] = [];
  for await (const entry of readArchive(source, scanLimits)) {
    entries.push({ size: entry.size, digest: digestIn(entry) });
  }
  return entries;
}

/** The digest in the path of a blob. A load finds blobs by the same rule. */
function digestIn({ path, type }: ArchiveEntry): Digest | undefined {
  return type === "file" || type === "contiguous-file" ? digestUnder("blobs/", path) : undefined;
}
