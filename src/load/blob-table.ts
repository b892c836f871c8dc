/**
 * Keeps the digests, sizes and outcomes of all blobs of one load in little memory: at most 100 bytes for each blob, and
 * 180 bytes if its digest is a SHA-512.
 */
import { Buffer } from "node:buffer";
import type { Digest } from "../digest.ts";
import type { BlobStatus } from "../layout/write-blob.ts";
import type { BlobReceipt } from "./receipt.ts";
import { packDigest, packedDigestAt, unpackDigest } from "../oci/packed-digest.ts";

/** The layout of a record: the size as a double, the index of the status in `statuses`, and the packed digest. */
const statusAt = 8;
const digestAt = statusAt + 1;
/** The shortest record has a digest of 32 bytes. */
const minRecordBytes = digestAt + 1 + 32;
const firstBlobs = 64;
const statuses: readonly BlobStatus[] = ["written", "present", "repaired"];

/** The blobs in the order in which they were added. Without the table, 100,000 blobs take 20 MiB. */
export class BlobTable implements Iterable<BlobReceipt> {
  #records = Buffer.alloc(firstBlobs * minRecordBytes);
  /** A hash table that is at most half full. A slot has the offset of a record plus 1. An empty slot has 0. */
  #slots = new Uint32Array(2 * firstBlobs);
  /** Bytes of all records. */
  #used = 0;
  /** An odd number that a client cannot know. Otherwise a client could choose digests that all fall into one slot. */
  readonly #seed = (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) | 1;

  has(digest: Digest): boolean {
    return this.sizeOf(digest) !== undefined;
  }

  /** The size in bytes of a blob. Undefined for a blob that is not in the table. */
  sizeOf(digest: Digest): number | undefined {
    const place = this.#slots[this.#slotOf(packDigest(digest))] ?? 0;
    return place === 0 ? undefined : this.#records.readDoubleLE(place - 1);
  }

  /** Adds a blob that is not in the table. Returns a function that notes the outcome. */
  add(digest: Digest, size: number): (status: BlobStatus) => void {
    const at = this.#used;
    const packed = packDigest(digest);
    if (at + digestAt + packed.length > this.#records.length) this.#grow();
    this.#records.writeDoubleLE(size, at);
    this.#records.set(packed, at + digestAt);
    this.#used += digestAt + packed.length;
    this.#slots[this.#slotOf(packed)] = at + 1;
    return (status) => {
      this.#records[at + statusAt] = statuses.indexOf(status);
    };
  }

  *[Symbol.iterator](): Generator<BlobReceipt> {
    for (const [at, packed] of this.#places()) {
      const status = statuses[this.#records[at + statusAt] ?? 0] ?? "written";
      yield { digest: unpackDigest(packed), size: this.#records.readDoubleLE(at), status };
    }
  }

  /** Yields the offset and the packed digest of each record. */
  *#places(): Generator<readonly [at: number, packed: Buffer]> {
    for (let at = 0; at < this.#used;) {
      const packed = this.#digestAt(at);
      yield [at, packed];
      at += digestAt + packed.length;
    }
  }

  /** The slot of this digest, or the free slot for it. */
  #slotOf(packed: Buffer): number {
    const slots = this.#slots;
    const hash = Math.imul(packed.readUInt32LE(1), this.#seed) >>> 0;
    let slot = Math.floor((hash / 2 ** 32) * slots.length); // the upper bits depend on all bits of both factors
    for (;;) {
      const place = slots[slot] ?? 0;
      if (place === 0 || this.#digestAt(place - 1).equals(packed)) return slot;
      slot = (slot + 1) % slots.length;
    }
  }

  #digestAt(at: number): Buffer {
    return packedDigestAt(this.#records, at + digestAt);
  }

  #grow(): void {
    this.#records = Buffer.concat([this.#records], 2 * this.#records.length);
    this.#slots = new Uint32Array(2 * this.#slots.length);
    for (const [at, packed] of this.#places()) this.#slots[this.#slotOf(packed)] = at + 1;
  }
}
