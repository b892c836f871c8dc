/** Keeps millions of digests in little memory: only the first 48 bits of each. These bits are as good as random. */
import { Buffer } from "node:buffer";
import { type Digest, hexOf } from "../digest.ts";
import { limitExceeded } from "../errors.ts";

/** A digest takes at most 22 bytes of memory, and 32 bytes while the table grows. */
const maxDigests = 4_000_000;
const tooMany = "Cannot remember which blobs are needed: there are too many";
const firstSlots = 1024;
const hexDigits = 12;
/** The bytes of one digest in `toBytes`. */
const startBytes = hexDigits / 2;

/**
 * A set of digests. In rare cases it claims to have a digest that was not added. That is harmless: a gc then keeps one
 * blob too many.
 */
export class DigestSet {
  /** A hash table of the beginnings of the digests, at most three quarters full. 0 is an empty slot. */
  #slots = new Float64Array(firstSlots);
  #size = 0;

  /** Reads what `toBytes` has written. */
  static fromBytes(bytes: Uint8Array): DigestSet {
    const set = new DigestSet();
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    // The bytes come in the order of a table's slots. In a smaller table they would all want the same slots.
    let slots = firstSlots;
    while (isTooFull(bytes.length / startBytes, slots)) slots *= 2;
    set.#slots = new Float64Array(slots);
    for (let at = 0; at < bytes.length; at += startBytes) set.#add(1 + view.readUIntBE(at, startBytes));
    return set;
  }

  /** Throws `LIMIT_EXCEEDED` if there are too many. */
  add(digest: Digest): void {
    this.#add(startOf(digest));
  }

  #add(start: number): void {
    const slot = slotOf(start, this.#slots);
    if (this.#slots[slot] === start) return;
    if (this.#size === maxDigests) throw limitExceeded(tooMany, { expected: maxDigests });
    this.#slots[slot] = start;
    this.#size += 1;
    if (isTooFull(this.#size, this.#slots.length)) this.#slots = grown(this.#slots);
  }

  has(digest: Digest): boolean {
    const start = startOf(digest);
    return this.#slots[slotOf(start, this.#slots)] === start;
  }

  /** The set in 6 bytes for each digest. */
  toBytes(): Uint8Array {
    const bytes = Buffer.alloc(this.#size * startBytes);
    let at = 0;
    for (const start of this.#slots) if (start !== 0) at = bytes.writeUIntBE(start - 1, at, startBytes);
    return bytes;
  }
}

/** The first 48 bits of a digest, plus 1: the result is never 0, which is an empty slot. */
function startOf(digest: Digest): number {
  return 1 + Number.parseInt(hexOf(digest).slice(0, hexDigits), 16);
}

/** The slot of this beginning, or the free slot for it. */
function slotOf(start: number, slots: Float64Array): number {
  let slot = start % slots.length;
  while (slots[slot] !== 0 && slots[slot] !== start) slot = (slot + 1) % slots.length;
  return slot;
}

function isTooFull(size: number, slots: number): boolean {
  return 4 * size > 3 * slots;
}

function grown(slots: Float64Array): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(2 * slots.length);
  for (const start of slots) if (start !== 0) larger[slotOf(start, larger)] = start;
  return larger;
}
