/**
 * Takes the blobs of one load: each is read from the archive in turn, while those before it are still on their way into
 * the store. Remembers what the rest of the load asks for: sizes, and the manifests themselves.
 */
import type { ArchiveEntry, EntryType } from "../archive/read-archive.ts";
import type { StowageError } from "../errors.ts";
import { type UnnamedBlob, hashBlob } from "../layout/stage-blob.ts";
import { type IncomingBlob, type StoreBlobOptions, storeBlob } from "../layout/store-blob.ts";
import { looksLikeManifest } from "../oci/manifest.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import { VerifiedBytes, checkDigest } from "../streams/verify-bytes.ts";
import { notAFile } from "./classify-entry.ts";
import type { BlobReceipt } from "./receipt.ts";

/** Blobs of one load on their way into the store. Measured: 32 at a time are as fast as 64, and four times 8. */
const maxPendingBlobs = 32;

/** Bytes of manifests that one load keeps in memory, beside the budget; beyond it they are read again from the store. */
const maxKeptManifestBytes = 1024 * 1024;

export interface BlobIntakeOptions extends StoreBlobOptions {
  /** Called once, when a blob cannot be stored, so that the load can stop reading. */
  readonly onFailure: (error: unknown) => void;
}

export class BlobIntake {
  readonly #options: BlobIntakeOptions;
  readonly #sizes = new Map<string, number>();
  readonly #manifests = new Map<string, Uint8Array>();
  readonly #receipts: BlobReceipt[] = [];
  readonly #pending = new Set<Promise<void>>();
  /** By path, what the archive has in the place of blobs. */
  readonly #unusable = new Map<string, EntryType>();
  #keptBytes = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(options: BlobIntakeOptions) {
    this.#options = options;
  }

  /** Reads the blob's body to its end; it may be stored later, see `settled`. Throws if size or digest are wrong. */
  async take(blob: IncomingBlob): Promise<void> {
    if (this.#sizes.has(blob.digest)) return new VerifiedBytes(blob.body, blob).drain(); // the same once more
    await this.#room();
    const { bytes, stored } = await storeBlob(blob, this.#options);
    if (bytes !== undefined) this.#keepManifest(blob.digest, bytes);
    this.#follow(blob, stored);
  }

  /** Takes a blob that the archive has in no file of its own. */
  async takeBytes(bytes: Uint8Array, digest: string): Promise<void> {
    await this.take({ digest, size: bytes.length, body: new ByteReader(once(bytes)).stream() });
  }

  /**
   * Takes a blob that need not say its digest, and returns it. Throws `DIGEST_INVALID` if it does and is wrong; as long as
   * nobody asks for this blob, that does no harm: nothing is stored of it.
   */
  async takeUnnamed({ claimed, size, body }: UnnamedBlob & { readonly claimed: string | undefined }): Promise<string> {
    if (claimed !== undefined && size > this.#options.store.partBytes) {
      await this.take({ digest: claimed, size, body });
      return claimed;
    }
    await this.#room();
    const { digest, keep, drop } = await hashBlob({ size, body }, this.#options);
    const isLie = claimed !== undefined && claimed !== digest;
    if (isLie || this.#sizes.has(digest)) await drop();
    else this.#follow({ digest, size }, keep());
    if (isLie) checkDigest({ digest: claimed, size }, digest);
    return digest;
  }

  /** Remembers that the archive has no file where a blob, or a folder of them, should be. It matters if an image needs it. */
  refuse({ path, type }: Pick<ArchiveEntry, "path" | "type">): void {
    this.#unusable.set(path, type);
  }

  /** Waits until every blob is in the store. Throws the first failure, once nothing is under way any more. */
  async settled(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending);
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** The size in bytes of a blob that the archive brought. */
  sizeOf(digest: string): number | undefined {
    return this.#sizes.get(digest);
  }

  /** A manifest that the archive brought, if it was kept. */
  manifest(digest: string): Uint8Array | undefined {
    return this.#manifests.get(digest);
  }

  /** Why there is no such blob in the archive, if it has a link, a device or the like in its place. */
  unusable(digest: string): StowageError | undefined {
    for (const path of [`blobs/${digest.replace(":", "/")}`, "blobs/sha256", "blobs"]) {
      const type = this.#unusable.get(path);
      if (type !== undefined) return notAFile({ path, type });
    }
    return undefined;
  }

  /** What became of each blob, once all are settled, in the archive's order. */
  receipts(): readonly BlobReceipt[] {
    const byDigest = new Map(this.#receipts.map((receipt) => [receipt.digest, receipt]));
    return [...this.#sizes.keys()].flatMap((digest) => byDigest.get(digest) ?? []);
  }

  /** Waits until few enough blobs are on their way. */
  async #room(): Promise<void> {
    while (this.#pending.size >= maxPendingBlobs) await Promise.race(this.#pending);
  }

  #follow({ digest, size }: Omit<IncomingBlob, "body">, stored: Promise<BlobReceipt["status"]>): void {
    this.#sizes.set(digest, size);
    const task: Promise<void> = stored
      .then(
        (status) => void this.#receipts.push({ digest, size, status }),
        (error: unknown) => {
          this.#failure ??= { error };
          this.#options.onFailure(error);
        },
      )
      .finally(() => this.#pending.delete(task));
    this.#pending.add(task);
  }

  #keepManifest(digest: string, bytes: Uint8Array): void {
    if (this.#keptBytes + bytes.length > maxKeptManifestBytes || !looksLikeManifest(bytes)) return;
    this.#manifests.set(digest, bytes);
    this.#keptBytes += bytes.length;
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}
