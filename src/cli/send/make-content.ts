/**
 * Decides what is sent of an archive. Usually that is a tar with the same entries in the same order, without the blobs
 * that the service has. If the file itself is smaller, the file is sent: for example a compressed archive of new blobs.
 */
import type { FileHandle } from "node:fs/promises";
import { decompress, isGzip } from "../../archive/decompress.ts";
import { isZstd } from "../../archive/decompress-zstd.ts";
import { blockBytes, endBytes, wholeBlocks } from "../../archive/tar-header.ts";
import { abortable } from "../../streams/abortable.ts";
import { Content, type Segment } from "./content.ts";
import { type ListedEntry, type ScannedArchive, scanLimits } from "./scan-input.ts";
import type { TemporaryFile } from "./temporary-file.ts";
import { type WalkedEntry, walkTar } from "./walk-tar.ts";

interface MakeContentOptions {
  /** Digests of the blobs that are not sent. */
  readonly present: ReadonlySet<string>;
  /** Opens the file for a tar that is made from a compressed archive. The tar is never larger than the archive. */
  readonly openTemporary: () => Promise<TemporaryFile>;
  readonly signal?: AbortSignal | undefined;
}

const endOfTar: Segment = { bytes: new Uint8Array(endBytes) };

export async function makeContent(archive: ScannedArchive, options: MakeContentOptions): Promise<Content> {
  const { file, size } = archive;
  const entries = chooseEntries(archive.entries, options.present);
  const sent = entries.filter(({ isSent }) => isSent);
  const tarBytes = sent.reduce((sum, entry) => sum + blockBytes + wholeBlocks(entry.size), endBytes);
  if (tarBytes > size) return new Content(file, [{ offset: 0, size, isNamed: false }]);
  return (await isCompressed(file)) ? copyEntries(file, entries, options) : pointToEntries(file, entries);
}

interface ChosenEntry extends ListedEntry {
  readonly isSent: boolean;
}

/** Leaves out the blobs that the service has. A blob that is in the archive twice is sent once. */
function chooseEntries(entries: readonly ListedEntry[], present: ReadonlySet<string>): readonly ChosenEntry[] {
  const known = new Set(present);
  return entries.map((entry) => {
    const isSent = entry.digest === undefined || !known.has(entry.digest);
    if (entry.digest !== undefined) known.add(entry.digest);
    return { ...entry, isSent };
  });
}

async function isCompressed(file: FileHandle): Promise<boolean> {
  const { buffer } = await file.read(new Uint8Array(4), 0, 4, 0);
  return isGzip(buffer) || isZstd(buffer);
}

/** Reads only the headers of a plain tar. The bodies stay in the file. */
async function pointToEntries(file: FileHandle, chosen: readonly ChosenEntry[]): Promise<Content> {
  let position = 0;
  const read = async (count: number): Promise<Uint8Array> => {
    const { bytesRead, buffer } = await file.read(new Uint8Array(count), 0, count, position);
    position += bytesRead;
    return buffer.subarray(0, bytesRead);
  };
  const segments: Segment[] = [];
  for await (const walked of walkTar(read, chosen)) {
    if (walked.entry.isSent) segments.push(...segmentsOf(walked, position));
    position += wholeBlocks(walked.entry.size);
  }
  return new Content(file, [...segments, endOfTar]);
}

/** A compressed archive can be read only from front to back. So its chosen entries are copied into a plain tar. */
async function copyEntries(
  file: FileHandle,
  chosen: readonly ChosenEntry[],
  { openTemporary, signal }: MakeContentOptions,
): Promise<Content> {
  const target = await openTemporary();
  const source = abortable(file.createReadStream({ start: 0, autoClose: false }), signal);
  const reader = await decompress(source, scanLimits);
  const segments: Segment[] = [];
  try {
    for await (const walked of walkTar((count) => reader.read(count), chosen)) {
      const { isSent, size } = walked.entry;
      if (isSent) segments.push(...segmentsOf(walked, target.size()));
      for await (const chunk of reader.stream(wholeBlocks(size))) {
        if (isSent) await target.append(chunk);
      }
    }
  } finally {
    await reader.close();
  }
  return new Content(target.handle, [...segments, endOfTar]);
}

function segmentsOf({ entry, header }: WalkedEntry<ListedEntry>, offset: number): readonly Segment[] {
  return [{ bytes: header }, { offset, size: wholeBlocks(entry.size), isNamed: entry.digest !== undefined }];
}
