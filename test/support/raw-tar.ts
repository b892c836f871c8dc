/**
 * Tars made block by block, so that every field can lie; the checksum is right unless a test spoils it:
 *
 *     rawTar([{ name: "blobs/x", bytes }, paxEntry({ path: "y" }), { name: "z", type: "2", linkTarget: "blobs/x" }])
 */
import { Buffer } from "node:buffer";

const blockBytes = 512;

export interface RawEntry {
  readonly name?: string;
  readonly bytes?: Uint8Array;
  /** The flag in the header, `0` for a file where it is left out. */
  readonly type?: string;
  readonly linkTarget?: string;
  /** What the header says, rather than the length of the bytes: a number or the field itself. */
  readonly size?: number | Uint8Array;
  /** `ustar` where it is left out; V7's headers have none. */
  readonly magic?: string;
  /** Changes the finished header, its checksum included. */
  readonly spoil?: (header: Buffer) => void;
}

/** The entries, and the two blocks of zeros that end a tar. */
export function rawTar(entries: readonly RawEntry[]): Buffer {
  return Buffer.concat([...entries.map(rawEntry), Buffer.alloc(2 * blockBytes)]);
}

/** A header and its body, filled up to whole blocks. */
export function rawEntry(entry: RawEntry): Buffer {
  const { bytes = Buffer.alloc(0) } = entry;
  const padding = Buffer.alloc((blockBytes - (bytes.length % blockBytes)) % blockBytes);
  return Buffer.concat([rawHeader(entry), bytes, padding]);
}

/** Header of what follows, with records such as `path`. */
export function paxEntry(records: Readonly<Record<string, string>>, type = "x"): RawEntry {
  const bytes = Buffer.concat(Object.entries(records).map(([key, value]) => paxRecord(key, value)));
  return { name: "PaxHeaders/x", type, bytes };
}

/** `<length> <key>=<value>\n`, where the length counts its own digits. */
export function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.from(` ${key}=${value}\n`);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** GNU's long name (`L`) or long target of a link (`K`). */
export function longNameEntry(name: string, type = "L"): RawEntry {
  return { name: "././@LongLink", type, bytes: Buffer.from(`${name}\0`) };
}

/** A size as a binary number, as GNU's tar and star write large ones. */
export function base256(value: bigint): Buffer {
  const field = Buffer.alloc(12, value < 0n ? 0xff : 0);
  let rest = value;
  for (let i = 11; i >= 0; i--) {
    field[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  field[0] = (field[0] ?? 0) | 0x80;
  return field;
}

function rawHeader({
  name = "",
  bytes,
  type = "0",
  linkTarget = "",
  size,
  magic = "ustar\0",
  spoil,
}: RawEntry): Buffer {
  const header = Buffer.alloc(blockBytes);
  header.write(name, 0, 100);
  header.write("0000644\0", 100);
  if (typeof size === "object") header.set(size, 124);
  else header.write(`${(size ?? bytes?.length ?? 0).toString(8).padStart(11, "0")}\0`, 124);
  header.write("00000000000\0", 136);
  header.write(type, 156, "latin1");
  header.write(linkTarget, 157, 100);
  header.write(`${magic}00`, 257, "latin1");
  header.fill(" ", 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  spoil?.(header);
  return header;
}
