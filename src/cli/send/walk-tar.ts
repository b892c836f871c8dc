/**
 * Second pass over a tar that has been read once already: finds the headers of its entries, so that an entry can be
 * taken over as it is, with its links, long names and whatever else is in them.
 *
 *     [ extended header | its body ]…  header | body, filled up to whole blocks      (POSIX.1-2001 "pax", 4.18)
 */
import { Buffer } from "node:buffer";
import { StowageError } from "../../errors.ts";

export const blockBytes = 512;

/** Length of its body in bytes: an extended header may say otherwise than the header does. */
interface SizedEntry {
  readonly size: number;
}

export interface WalkedEntry<Entry extends SizedEntry> {
  readonly entry: Entry;
  /** All that stands before its body. */
  readonly header: Uint8Array;
}

/**
 * Yields the entries that were listed. `read` returns the next so many bytes; whoever gets an entry takes or skips its
 * body, whole blocks of it, before asking for the next.
 */
export async function* walkTar<Entry extends SizedEntry>(
  read: (count: number) => Promise<Uint8Array>,
  entries: readonly Entry[],
): AsyncGenerator<WalkedEntry<Entry>> {
  for (const entry of entries) {
    const header: Uint8Array[] = [];
    for (let isExtended = true; isExtended;) {
      const block = await readExactly(read, blockBytes);
      isExtended = isExtension(block);
      header.push(withoutTime(block));
      if (isExtended) header.push(await readExactly(read, wholeBlocks(sizeIn(block))));
    }
    yield { entry, header: Buffer.concat(header) };
  }
}

/** What so many bytes take in a tar. */
export function wholeBlocks(bytes: number): number {
  return Math.ceil(bytes / blockBytes) * blockBytes;
}

async function readExactly(read: (count: number) => Promise<Uint8Array>, count: number): Promise<Uint8Array> {
  const bytes = await read(count);
  if (bytes.length === count) return bytes;
  throw new StowageError("ARCHIVE_INVALID", "Cannot send the archive: it has changed meanwhile, and is shorter now");
}

/** Does it say something about the entry that follows? In pax `x` and `g`, in GNU's format `L`, `K` and `N`. */
function isExtension(block: Uint8Array): boolean {
  return "xXgLKN".includes(String.fromCharCode(block[156] ?? 0));
}

function sizeIn(block: Uint8Array): number {
  return Number.parseInt(textIn(block, 124, 136), 8) || 0;
}

/**
 * The header without its time of change, and its checksum without that: tools that make the same archive again, as
 * `skopeo` does in a pipe, often set the time anew, and what went up before is to be found again.
 */
function withoutTime(block: Uint8Array): Uint8Array {
  const header = Buffer.from(block);
  header.write("00000000000\0", 136, "latin1");
  header.fill(" ", 148, 156); // it counts as spaces in its own sum
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return header;
}

function textIn(block: Uint8Array, start: number, end: number): string {
  return new TextDecoder("latin1").decode(block.subarray(start, end)).replaceAll("\0", " ").trim();
}
