/** First pass over an archive that is to be sent: is it whole, and what is in it? */
import { type ArchiveEntry, readArchive } from "../../archive/read-archive.ts";

/** How many entries a service takes is its own decision; this only bounds what the list of them takes here. */
const maxEntries = 1_000_000;

export interface ListedEntry {
  /** Length of its body in bytes. */
  readonly size: number;
  /** `sha256:<64 hex>`, where it is a blob by its path. */
  readonly digest: string | undefined;
}

/** Reads it to its end, bodies skipped. Throws what `readArchive` does. */
export async function scanArchive(source: AsyncIterable<Uint8Array>): Promise<readonly ListedEntry[]> {
  const entries: ListedEntry[] = [];
  for await (const entry of readArchive(source, { maxEntries })) {
    entries.push({ size: entry.size, digest: digestOf(entry) });
  }
  return entries;
}

/** As a load finds blobs. */
function digestOf({ path, type }: ArchiveEntry): string | undefined {
  if (type !== "file" && type !== "contiguous-file") return undefined;
  const [, hex] = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(path) ?? [];
  return hex === undefined ? undefined : `sha256:${hex}`;
}
