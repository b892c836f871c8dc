/** Very many digests in little memory: of each its first 48 bits, which are as good as random. */
import { StowageError } from "../errors.ts";
import { hexOf } from "../oci/digest.ts";

/** Some 50 bytes of memory each. */
const maxDigests = 5_000_000;
const hexDigits = 12;

/** A set of digests that now and then has one more than were put in: for what is not to be deleted, that is harmless. */
export class DigestSet {
  readonly #starts = new Set<number>();

  /** Throws `LIMIT_EXCEEDED` if there are too many. */
  add(digest: string): void {
    this.#starts.add(startOf(digest));
    if (this.#starts.size <= maxDigests) return;
    const message = `Cannot keep in mind which blobs are needed: there are more than ${maxDigests}`;
    throw new StowageError("LIMIT_EXCEEDED", message, { detail: { expected: maxDigests } });
  }

  has(digest: string): boolean {
    return this.#starts.has(startOf(digest));
  }
}

function startOf(digest: string): number {
  return Number.parseInt(hexOf(digest).slice(0, hexDigits), 16);
}
