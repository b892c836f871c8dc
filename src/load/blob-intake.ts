/**
 * Stores the blobs of one load. Blobs are read from the archive one after the other, while earlier blobs are still
 * being written. A manifest is stored like any other blob. The intake remembers the sizes and manifests that the rest
 * of the load needs.
 */
import type { ArchiveEntry, EntryType } from "../archive/read-archive.ts";
import { type Digest, algorithmOf, pathUnder } from "../digest.ts";
import { type StowageError, limitExceeded } from "../errors.ts";
import { type UnnamedBlob, hashBlob } from "../layout/stage-blob.ts";
import { type IncomingBlob, type StoreBlobOptions, storeBlob } from "../layout/store-blob.ts";
import type { BlobStatus } from "../layout/write-blob.ts";
import { maxNamed } from "../limits.ts";
import { looksLikeManifest } from "../oci/manifest.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import { VerifiedBytes, checkDigest } from "../streams/verify-bytes.ts";
import { BlobTable } from "./blob-table.ts";
import { notAFile } from "./classify-entry.ts";
import { oneChunk } from "../streams/readable-stream.ts";

/**
 * Blobs of one load that are written at the same time, if there is memory for them: twice the 64 blobs of 64 KiB that a
 * fast client sends while a bucket takes 30 ms to answer.
 */
const maxPendingBlobs = 128;

/**
 * Bytes of manifests that one load keeps in memory, outside the budget. Further manifests are read again from the
 * store.
 */
const maxKeptManifestBytes = 1024 * 1024;

export class BlobIntake {
  /** The outcome for each blob, in the archive's order, once all are settled. */
  readonly blobs = new BlobTable();
  readonly #options: StoreBlobOptions;
  readonly #onFailure: (error: unknown) => void;
  readonly #manifests = new Map<Digest, Uint8Array>();
  readonly #pending = new Set<Promise<void>>();
  /** The entries that have the path of a blob and are not files: the type of each, by path. */
  readonly #unusable = new Map<string, EntryType>();
  #keptBytes = 0;
  #failure: { readonly error: unknown } | undefined;

  /** `onFailure` is called when a blob cannot be stored, so that the load can stop reading. */
  constructor(options: StoreBlobOptions, onFailure: (error: unknown) => void) {
    this.#options = options;
    this.#onFailure = onFailure;
  }

  /**
   * Reads the blob's body to its end. The write may end later: see `settled`. Throws if the size or the digest is
   * wrong.
   */
  async store(blob: IncomingBlob): Promise<void> {
    // the archive has the blob twice
    if (this.blobs.has(blob.digest)) return new VerifiedBytes(blob.body, blob).drain();
    await this.#waitForWrites();
    const { bytes, stored } = await storeBlob(blob, this.#options);
    if (bytes !== undefined) this.#keepManifest(blob.digest, bytes);
    this.#awaitWrite(blob, stored);
  }

  /** Stores a blob that is no file of the archive. */
  async storeBytes(bytes: Uint8Array, digest: Digest): Promise<void> {
    await this.store({ digest, size: bytes.length, body: new ByteReader(oneChunk(bytes)).stream() });
  }

  /**
   * Stores a blob whose digest may be unknown, and returns the digest. If the claimed digest is wrong, nothing is
   * stored and `DIGEST_INVALID` is thrown.
   */
  async storeUnnamed({ claimed, size, body }: UnnamedBlob & { readonly claimed: Digest | undefined }): Promise<Digest> {
    if (claimed !== undefined && size > this.#options.store.partBytes) {
      await this.store({ digest: claimed, size, body });
      return claimed;
    }
    await this.#waitForWrites();
    const algorithm = claimed && algorithmOf(claimed);
    const { digest, store, drop } = await hashBlob({ size, body, algorithm }, this.#options);
    const isWrongClaim = claimed !== undefined && claimed !== digest;
    if (isWrongClaim || this.blobs.has(digest)) await drop();
    else this.#awaitWrite({ digest, size }, store());
    if (isWrongClaim) checkDigest({ digest: claimed, size }, digest);
    return digest;
  }

  /**
   * Remembers an entry that has the path of a blob, or of the folder of blobs, and is not a file. Such an entry is an
   * error only if an image needs the blob. Throws `LIMIT_EXCEEDED` if there are too many.
   */
  noteUnusable({ path, type }: Pick<ArchiveEntry, "path" | "type">): void {
    this.#unusable.set(path, type);
    if (this.#unusable.size <= maxNamed) return;
    const problem = "Cannot load the archive: too many of its blobs are no files, but links or the like";
    throw limitExceeded(problem, { expected: maxNamed });
  }

  /** Waits until no write of a blob is under way. Throws the first failure of a write. */
  async settled(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending);
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** The size in bytes of a blob that the archive brought. */
  sizeOf(digest: Digest): number | undefined {
    return this.blobs.sizeOf(digest);
  }

  /** A manifest that the archive brought, if it was kept. */
  manifest(digest: Digest): Uint8Array | undefined {
    return this.#manifests.get(digest);
  }

  /** The error for a blob that the archive has as a link, a device or the like. Undefined if there is no such entry. */
  unusable(digest: Digest): StowageError | undefined {
    for (const path of [pathUnder("blobs/", digest), `blobs/${algorithmOf(digest)}`, "blobs"]) {
      const type = this.#unusable.get(path);
      if (type !== undefined) return notAFile({ path, type });
    }
    return undefined;
  }

  /** Waits until fewer than `maxPendingBlobs` blobs are being written. */
  async #waitForWrites(): Promise<void> {
    while (this.#pending.size >= maxPendingBlobs) await Promise.race(this.#pending);
  }

  #awaitWrite({ digest, size }: Omit<IncomingBlob, "body">, stored: Promise<BlobStatus>): void {
    const task: Promise<void> = stored
      .then(this.blobs.add(digest, size), (error: unknown) => {
        this.#failure ??= { error };
        this.#onFailure(error);
      })
      .finally(() => this.#pending.delete(task));
    this.#pending.add(task);
  }

  #keepManifest(digest: Digest, bytes: Uint8Array): void {
    if (this.#keptBytes + bytes.length > maxKeptManifestBytes || !looksLikeManifest(bytes)) return;
    this.#manifests.set(digest, bytes);
    this.#keptBytes += bytes.length;
  }
}
