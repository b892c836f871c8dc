/**
 * The bytes of a tarball for a client. While others wait for a connection to the store, a slow reader gives its own
 * back.
 */
import type { Digest } from "../digest.ts";
import type { BlobOpener } from "../export/pack-archive.ts";
import type { AnswerSource } from "./answer-stream.ts";
import { BlobBytes, type BlobReader } from "./blob-bytes.ts";

/** Packs a tarball. `open` opens a blob of the store. */
export type Pack = (open: BlobOpener) => AsyncGenerator<Uint8Array>;

export class ArchiveBytes implements AnswerSource {
  readonly #chunks: AsyncGenerator<Uint8Array>;
  readonly #reader: BlobReader;
  readonly #leaving = new AbortController();
  /** The blob that is being packed, while no chunk of it is awaited. */
  #idleBlob: BlobBytes | undefined;

  constructor(pack: Pack, reader: BlobReader) {
    this.#chunks = pack(async (_, { digest }) => this.#open(digest));
    this.#reader = { ...reader, signal: AbortSignal.any([reader.signal, this.#leaving.signal]) };
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    return this.#chunks.next();
  }

  yieldToOthers(): boolean {
    return this.#idleBlob?.yieldToOthers() ?? false;
  }

  /** Ends the wait for a connection and for the store too: the packer reads ahead. */
  async return(): Promise<IteratorResult<Uint8Array>> {
    this.#leaving.abort(new Error("The reader of the tarball has left"));
    return this.#chunks.return(undefined);
  }

  async #open(digest: Digest): Promise<AsyncIterable<Uint8Array> | undefined> {
    const blob = await BlobBytes.open(this.#reader, digest, { hasBegun: true });
    return blob && { [Symbol.asyncIterator]: () => this.#read(blob) };
  }

  /** Not a generator: one whose first chunk is never read would not return the blob. */
  #read(blob: BlobBytes): AsyncIterator<Uint8Array> {
    return {
      next: async () => {
        this.#idleBlob = undefined;
        const next = await blob.next();
        if (next.done !== true) this.#idleBlob = blob;
        return next;
      },
      return: async () => {
        this.#idleBlob = undefined;
        return blob.return();
      },
    };
  }
}
