/**
 * Changes to archives as bytes. Each is made of numbers that mean a place by what is left of them when divided, so that any
 * numbers will do: a generator's, or those of a loop that tries.
 */
import { Buffer } from "node:buffer";
import { gzipSync } from "node:zlib";

const blockBytes = 512;

export interface ByteMutation {
  readonly kind: ByteMutationKind;
  /** The place that is changed. */
  readonly at: number;
  /** What is put there: a byte, a length, or another place. */
  readonly by: number;
}

/** Most header fields are text: these hit where other bytes only spoil the checksum. */
const likely = Buffer.from("07 \0/.xgLKS125\x80\xff", "latin1");

const mutators = {
  cut: (bytes, at) => bytes.subarray(0, at % (bytes.length + 1)),
  "cut the front": (bytes, at) => bytes.subarray(at % (bytes.length + 1)),
  "flip a bit": (bytes, at, by) => flip(bytes, at % bytes.length, by),
  "put a byte": (bytes, at, by) => put(bytes, at % bytes.length, by),
  "insert bytes": (bytes, at, by) => insert(bytes, at % bytes.length, Buffer.alloc(by % 2000, by)),
  "flip a bit of a header": (bytes, at, by) => withChecksums(flip(bytes, placeInHeader(bytes, at), by)),
  "put a byte into a header": (bytes, at, by) =>
    withChecksums(put(bytes, placeInHeader(bytes, at), likely[by % likely.length] ?? 0)),
  "leave a block out": (bytes, at) =>
    Buffer.concat([bytes.subarray(0, block(bytes, at)), bytes.subarray(block(bytes, at) + blockBytes)]),
  "repeat a block": (bytes, at, by) =>
    insert(bytes, block(bytes, at), bytes.subarray(block(bytes, by)).subarray(0, blockBytes)),
  "repeat blocks": (bytes, at, by) =>
    insert(bytes, block(bytes, at), bytes.subarray(block(bytes, by)).subarray(0, 3 * blockBytes)),
  "repeat the end": (bytes, at) => Buffer.concat([bytes, bytes.subarray(at % (bytes.length + 1))]),
  "add zeros": (bytes, at) => Buffer.concat([bytes, Buffer.alloc(at % 3000)]),
  compress: (bytes) => gzipSync(bytes, { level: 1 }),
} as const satisfies Record<string, (bytes: Buffer, at: number, by: number) => Buffer>;

export type ByteMutationKind = keyof typeof mutators;
export const byteMutationKinds = Object.keys(mutators).filter(isKind);

/** The bytes after all of the changes. Nothing is left to change in an empty one. */
export function mutateBytes(bytes: Buffer, mutations: readonly ByteMutation[]): Buffer {
  return mutations.reduce(
    (changed, { kind, at, by }) => (changed.length === 0 ? changed : mutators[kind](changed, at, by)),
    bytes,
  );
}

/** With the right checksum in every header that says what it is, so that what was changed in it counts. */
export function withChecksums(bytes: Uint8Array): Buffer {
  const changed = Buffer.from(bytes);
  for (const at of headersOf(changed)) {
    const header = changed.subarray(at, at + blockBytes).fill(" ", 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  }
  return changed;
}

function isKind(text: string): text is ByteMutationKind {
  return Object.hasOwn(mutators, text);
}

function put(bytes: Buffer, at: number, byte: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at] = byte;
  return changed;
}

function flip(bytes: Buffer, at: number, bit: number): Buffer {
  return put(bytes, at, (bytes[at] ?? 0) ^ (1 << (bit % 8)));
}

function insert(bytes: Buffer, at: number, more: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)]);
}

/** Where a block begins. */
function block(bytes: Buffer, at: number): number {
  return (at % Math.ceil(bytes.length / blockBytes)) * blockBytes;
}

function placeInHeader(bytes: Buffer, at: number): number {
  const headers = headersOf(bytes);
  const header = headers[Math.floor(at / blockBytes) % headers.length] ?? 0;
  return Math.min(header + (at % blockBytes), bytes.length - 1);
}

function headersOf(bytes: Buffer): number[] {
  const blocks = Array.from({ length: Math.floor(bytes.length / blockBytes) }, (_, i) => i * blockBytes);
  return blocks.filter((at) => bytes.toString("latin1", at + 257, at + 262) === "ustar");
}
