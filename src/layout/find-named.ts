/** Finds the blobs and manifests that a manifest names: in the archive, or in the store. */
import type { Digest } from "../digest.ts";
import { limitExceeded, StowageError } from "../errors.ts";
import type { BlobIdentity, Descriptor } from "../oci/descriptor.ts";
import { concurrently } from "../streams/concurrently.ts";
import { headBlob, readSmallBlob } from "./blobs.ts";
import type { InlinedBlob } from "./check-data.ts";
import type { Layout } from "./layout.ts";
import type { JsonMemory } from "./json-memory.ts";

/** Blobs and manifests that are asked for at the same time. */
export const maxConcurrentRequests = 32;

/** Blobs that are surely in the store, such as the blobs that an archive brought. */
export interface KnownBlobs {
  sizeOf(digest: Digest): number | undefined;
  manifest(digest: Digest): Uint8Array | undefined;
  /** The error if the archive has something other than a file, such as a link, under this digest. */
  unusable?(digest: Digest): StowageError | undefined;
}

/** Options of `checkClosure`. They are here because `NamedFinder` needs them too. */
export interface ClosureOptions {
  /** Gives the memory for manifests, and the turns to ask the store. */
  readonly json: JsonMemory;
  readonly known: KnownBlobs;
  /** Stores a blob that is in a descriptor's `data`, if the archive has no file of it. */
  readonly storeInlined?: (bytes: Uint8Array, digest: Digest) => Promise<void>;
  /** Digests of configs. The result of the check tells which root leads to each config. */
  readonly configs?: Iterable<Digest>;
  /** Called with every problem. With `onProblem`, the check goes on after a problem and does not throw. */
  readonly onProblem?: (problem: StowageError) => void;
}

export class NamedFinder {
  readonly #layout: Layout;
  readonly #options: ClosureOptions;
  /** By digest, the sizes in bytes that the store has answered. */
  readonly #sizes = new Map<Digest, number>();

  constructor(layout: Layout, options: ClosureOptions) {
    this.#layout = layout;
    this.#options = options;
  }

  /** Throws the problem, or passes it to `onProblem`. */
  fail(problem: StowageError): void {
    if (this.#options.onProblem === undefined) throw problem;
    this.#options.onProblem(problem);
  }

  /** The size in bytes of a blob. Undefined if the blob was not sent and is not in the store. */
  async sizeOf(digest: Digest): Promise<number | undefined> {
    const { json, known } = this.#options;
    const before = known.sizeOf(digest) ?? this.#sizes.get(digest);
    if (before !== undefined) return before;
    this.#checkUsable(digest);
    const { store, budget } = this.#layout;
    const size = (await budget.ask(async () => headBlob(store, digest, json.requester), json.requester))?.size;
    if (size !== undefined) this.#sizes.set(digest, size);
    return size;
  }

  async checkBlobs(blobs: Iterable<Descriptor>, namedBy: string): Promise<void> {
    await concurrently(blobs, maxConcurrentRequests, async (blob) => {
      this.checkSize(blob, await this.sizeOf(blob.digest), namedBy);
    });
  }

  checkSize(blob: BlobIdentity, found: number | undefined, namedBy: string): void {
    if (found === undefined) this.fail(missingBlob(blob, namedBy));
    else if (found !== blob.size) this.fail(wrongSize(blob, found, namedBy));
  }

  checkManifestBytes({ digest, size }: BlobIdentity, namedBy: string): void {
    const { maxManifestBytes } = this.#layout.limits;
    if (size <= maxManifestBytes) return;
    throw limitExceeded(`Cannot take "${namedBy}": it names the manifest "${digest}" with ${size} bytes`, {
      limit: "maxManifestBytes",
      digest,
      found: size,
      expected: maxManifestBytes,
    });
  }

  /** Reads the bytes of a manifest. Undefined if the manifest is nowhere. */
  async readManifest({ digest, size }: BlobIdentity, namedBy: string): Promise<Uint8Array | undefined> {
    const { json, known } = this.#options;
    const { store, limits, budget } = this.#layout;
    const brought = known.sizeOf(digest);
    if (brought !== undefined) this.checkSize({ digest, size }, brought, namedBy);
    const kept = known.manifest(digest);
    if (kept !== undefined) return kept;
    if (brought === undefined) this.#checkUsable(digest);
    const options = { maxBytes: limits.maxManifestBytes, signal: json.requester.signal };
    return budget.ask(async () => readSmallBlob(store, digest, options), json.requester);
  }

  async storeAllInlined(inlined: readonly InlinedBlob[]): Promise<void> {
    const { known, storeInlined } = this.#options;
    for (const { digest, bytes } of inlined) {
      if (known.sizeOf(digest) === undefined) await storeInlined?.(bytes, digest);
    }
  }

  /**
   * Throws if the archive has a link or the like under this digest, even if the store has the blob: the store
   * does not decide whether a tarball is accepted.
   */
  #checkUsable(digest: Digest): void {
    const error = this.#options.known.unusable?.(digest);
    if (error !== undefined) throw error;
  }
}

function wrongSize({ digest, size }: BlobIdentity, found: number, namedBy: string): StowageError {
  const message = `Cannot take "${namedBy}": it names "${digest}" with ${size} bytes, found ${found} bytes`;
  return new StowageError("SIZE_INVALID", message, { detail: { digest, found, expected: size } });
}

export function missingBlob({ digest, size }: BlobIdentity, namedBy: string): StowageError {
  return new StowageError(
    "MANIFEST_BLOB_UNKNOWN",
    `Cannot publish "${namedBy}": it names "${digest}" (${size} bytes), which was not sent and is not in the store`,
    { detail: { digest } },
  );
}
