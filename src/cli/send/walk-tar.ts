/**
 * The second pass over a tar that was read before. It finds the headers of each entry. So an entry can be copied
 * unchanged, with its links, long names and other extensions.
 *
 *     [ extended header | its body ]…  header | body, filled up to whole blocks      (POSIX.1-2001 "pax", 4.18)
 */
import { Buffer } from "node:buffer";
import { isTarExtension } from "../../archive/tar-extensions.ts";
import { blockBytes, decodeHeader, wholeBlocks } from "../../archive/tar-header.ts";
import { StowageError } from "../../errors.ts";

/** Length of the body in bytes. An extended header can change the length in the entry's own header. */
interface SizedEntry {
  readonly size: number;
}

export interface WalkedEntry<Entry extends SizedEntry> {
  readonly entry: Entry;
  /** All headers of the entry. */
  readonly header: Uint8Array;
}

/**
 * Yields the listed entries. `read` returns the next `count` bytes. Before the caller asks for the next entry, it takes
 * or skips the body, in whole blocks.
 */
export async function* walkTar<Entry extends SizedEntry>(
  read: (count: number) => Promise<Uint8Array>,
  entries: readonly Entry[],
): AsyncGenerator<WalkedEntry<Entry>> {
  for (const entry of entries) {
    const header: Uint8Array[] = [];
    for (let isExtended = true; isExtended;) {
      const block = await readExactly(read, blockBytes);
      const decoded = decodeHeader(block, "a header");
      isExtended = isTarExtension(decoded);
      header.push(withoutTime(block));
      if (isExtended) header.push(await readExactly(read, wholeBlocks(decoded.size)));
    }
    yield { entry, header: Buffer.concat(header) };
  }
}

async function readExactly(read: (count: number) => Promise<Uint8Array>, count: number): Promise<Uint8Array> {
  const bytes = await read(count);
  if (bytes.length === count) return bytes;
  throw new StowageError("ARCHIVE_INVALID", "Cannot send the archive: it has changed meanwhile, and is shorter now");
}

/**
 * The header with time 0, and the checksum for that. Tools that make an archive again, such as `skopeo` in a pipe,
 * often write the current time. Without the time, the fingerprint is the same and an earlier upload is found.
 */
function withoutTime(block: Uint8Array): Uint8Array {
  const header = Buffer.from(block);
  header.write("00000000000\0", 136, "latin1");
  header.fill(" ", 148, 156); // the checksum field counts as spaces
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return header;
}
