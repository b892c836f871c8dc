/** Keeps millions of digests in little memory: only the first 48 bits of each. These bits are as good as random. */
import { type Digest, hexOf } from "../digest.ts";
import { limitExceeded } from "../errors.ts";

/** A digest takes at most 32 bytes of memory, and 48 bytes while the table grows. */
const maxDigests = 4_000_000;
const tooMany = "Cannot remember which blobs are needed: there are too many";
const firstSlots = 1024;
const hexDigits = 12;

/**
 * A set of digests. In rare cases it claims to have a digest that was not added. That is harmless: a gc then keeps one blob too
 * many.
 */
export class DigestSet {
  /** A hash table of the beginnings of the digests, at most half full. 0 is an empty slot. */
  #slots = new Float64Array(firstSlots);
  #size = 0;

  /** Throws `LIMIT_EXCEEDED` if there are too many. */
  add(digest: Digest): void {
    const start = startOf(digest);
    const slot = slotOf(start, this.#slots);
    if (this.#slots[slot] === start) return;
    if (this.#size === maxDigests) throw limitExceeded(tooMany, { expected: maxDigests });
    this.#slots[slot] = start;
    this.#size += 1;
    if (2 * this.#size > this.#slots.length) this.#slots = grown(this.#slots);
  }

  has(digest: Digest): boolean {
    const start = startOf(digest);
    return this.#slots[slotOf(start, this.#slots)] === start;
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

function grown(slots: Float64Array): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(2 * slots.length);
  for (const start of slots) if (start !== 0) larger[slotOf(start, larger)] = start;
  return larger;
}
