/** Moves blobs into the target: the target's store copies them, or their bytes stream through this process and are verified. */
import { type Digest, hexOf } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { getBlob, headBlob } from "../layout/blobs.ts";
import type { RescuingStore } from "../layout/condemned.ts";
import type { KnownBlobs } from "../layout/find-named.ts";
import { blobKey } from "../layout/keys.ts";
import type { Layout } from "../layout/layout.ts";
import type { ListedManifest } from "../layout/list-closure.ts";
import { storeBlob } from "../layout/store-blob.ts";
import { hashObject } from "../storage/hash-object.ts";
import type { ImageSource } from "../remote/image-source.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import { concurrently } from "../streams/concurrently.ts";
import { Line } from "../streams/line.ts";
import { type ExpectedBytes, checkDigest } from "../streams/verify-bytes.ts";
import type { PlannedImage } from "./plan-copy.ts";

/** `auto`: the store copies where it can. `server`: it must. `stream`: the bytes pass through this process. */
export type CopyMode = "auto" | "server" | "stream";

export interface TransferOptions {
  readonly mode?: CopyMode | undefined;
  /** The store of the source, if it is one. Without it the bytes are streamed. */
  readonly sourceStore?: ObjectStore | undefined;
  /** Reads every blob that the store has copied. */
  readonly verify?: boolean | undefined;
  /** Blobs that move at the same time. */
  readonly concurrency?: number | undefined;
  readonly caller?: string | undefined;
  /** Called with the number of bytes that have moved. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
  readonly signal: AbortSignal;
}

export interface BlobTotals {
  /** Manifests count as blobs. */
  readonly total: Amount;
  readonly present: Amount;
  readonly copied: Amount;
  /** The part of `copied` that the store itself copied. */
  readonly copiedByStore: Amount;
}

export interface Amount {
  readonly blobs: number;
  readonly bytes: number;
}

const defaultConcurrency = 16;
/** A stream of this size takes as much memory as most streams. */
const largeBytes = 1024 ** 3;

export class BlobTransfer {
  readonly #source: ImageSource;
  readonly #target: Layout;
  readonly #options: TransferOptions;
  /** One unit is one blob on its way. */
  readonly #line: Line;
  /** Streams of large blobs. Each holds the memory of several parts. */
  readonly #streams: Line;
  readonly #sizes = new Map<Digest, number>();
  readonly #present = new Set<Digest>();
  readonly #moves = new Map<Digest, Promise<void>>();
  #found: Amount = nothing;
  #copied: Amount = nothing;
  #copiedByStore: Amount = nothing;

  constructor(source: ImageSource, target: Layout, options: TransferOptions) {
    const { concurrency = defaultConcurrency } = options;
    const { budget, store } = target;
    const streams = Math.max(1, Math.floor(budget.maxBytes / store.writeBufferBytes(largeBytes)));
    this.#source = source;
    this.#target = target;
    this.#options = options;
    this.#line = new Line({ capacity: concurrency, units: "blobs", limit: "concurrency" });
    this.#streams = new Line({ capacity: Math.min(streams, concurrency), units: "streams", limit: "concurrency" });
  }

  /** Tells which blobs the copy needs, and which of these the target has. */
  expect(sizes: ReadonlyMap<Digest, number>, present: ReadonlySet<Digest>): void {
    for (const [digest, size] of sizes) this.#sizes.set(digest, size);
    for (const digest of present) {
      this.#present.add(digest);
      this.#found = plus(this.#found, sizes.get(digest) ?? 0);
    }
  }

  get totals(): BlobTotals {
    const sizes = [...this.#sizes.values()];
    const total = { blobs: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) };
    return { total, present: this.#found, copied: this.#copied, copiedByStore: this.#copiedByStore };
  }

  /** The blobs that are in the target. */
  get known(): KnownBlobs {
    return {
      sizeOf: (digest) => (this.#present.has(digest) ? this.#sizes.get(digest) : undefined),
      manifest: () => undefined,
    };
  }

  isPresent(digest: Digest): boolean {
    return this.#present.has(digest);
  }

  /** Stores the blobs that the target lacks, then the manifests, children before parents. `store` keeps what is there. */
  async store({ repository, closure }: PlannedImage, store: RescuingStore): Promise<void> {
    const { signal } = this.#options;
    const manifests = [...closure.manifests.values()];
    await concurrently(distinctBlobs(manifests), maxPending, async (blob) => {
      if (this.#present.has(blob.digest)) await store.keep(blob.digest, { signal });
      else await this.#once(blob, async () => this.#copyBlob(repository, blob, store));
    });
    for (const manifest of manifests) {
      if (this.#present.has(manifest.digest)) await store.keep(manifest.digest, { signal });
      else await this.#once(manifest, async () => this.#copyManifest(repository, manifest, store));
    }
  }

  /** Images share blobs: each blob moves once. */
  async #once(blob: ExpectedBytes, move: () => Promise<void>): Promise<void> {
    const { digest, size } = blob;
    const moving =
      this.#moves.get(digest) ??
      move().then(() => {
        this.#present.add(digest);
        this.#copied = plus(this.#copied, size);
      });
    this.#moves.set(digest, moving);
    await moving;
  }

  async #copyBlob(repository: string, blob: ExpectedBytes, store: RescuingStore): Promise<void> {
    const { mode = "auto", caller = "", signal } = this.#options;
    const release = await this.#line.acquire(1, { caller, signal });
    try {
      if (mode !== "stream" && (await this.#copyByStore(blob, store))) return;
      if (mode === "server") throw notByStore(blob, this.#source, this.#target);
      await this.#stream(repository, blob, store);
    } finally {
      release();
    }
  }

  /** Returns false if the stores cannot. */
  async #copyByStore(blob: ExpectedBytes, store: RescuingStore): Promise<boolean> {
    const { sourceStore, verify = false, onBytes, signal } = this.#options;
    const { digest, size } = blob;
    if (sourceStore === undefined || store.copyFrom === undefined) return false;
    const key = blobKey(digest);
    const options = { size, checksum: hexOf(digest), condition: "absent", signal } as const;
    const result = await store.copyFrom(sourceStore, key, key, options);
    if (result === "refused" || result.outcome === "conflict") return false; // a damaged object is replaced by a stream
    const found = await headBlob(store, digest, { signal });
    if (found?.size !== size) throw wrongCopy(blob, found?.size);
    if (verify) await this.#verify(blob, store);
    onBytes?.(size);
    this.#copiedByStore = plus(this.#copiedByStore, size);
    return true;
  }

  async #verify(blob: ExpectedBytes, store: RescuingStore): Promise<void> {
    const { signal } = this.#options;
    const object = await getBlob(store, blob.digest, { signal });
    if (object === undefined) throw wrongCopy(blob, undefined);
    const { digest } = await hashObject(object, "sha256", { signal });
    checkDigest(blob, digest);
  }

  async #stream(repository: string, blob: ExpectedBytes, store: RescuingStore): Promise<void> {
    const { caller = "", onBytes, signal } = this.#options;
    const isLarge = blob.size > store.partBytes;
    const release = isLarge ? await this.#streams.acquire(1, { caller, signal }) : undefined;
    try {
      const source = this.#source;
      async function* read(): AsyncGenerator<Uint8Array> {
        const body = await source.readBlob(repository, blob, { signal });
        if (body === undefined) throw lost(blob, source);
        for await (const chunk of body) {
          yield chunk;
          onBytes?.(chunk.length);
        }
      }
      await this.#store(blob, read(), store);
    } finally {
      release?.();
    }
  }

  async #copyManifest(repository: string, manifest: ListedManifest, store: RescuingStore): Promise<void> {
    const { onBytes, signal } = this.#options;
    const { digest, mediaType } = manifest;
    const found = await this.#source.readManifest(repository, digest, { mediaType, signal });
    if (found === undefined) throw lost(manifest, this.#source);
    async function* read(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
      yield await Promise.resolve(bytes);
    }
    await this.#store(manifest, read(found.bytes), store);
    onBytes?.(manifest.size);
  }

  async #store({ digest, size }: ExpectedBytes, body: AsyncIterable<Uint8Array>, store: RescuingStore): Promise<void> {
    const { budget } = this.#target;
    const { caller, signal } = this.#options;
    const reader = new ByteReader(body);
    const { stored } = await storeBlob({ digest, size, body: reader.stream() }, { store, budget, caller, signal });
    await stored;
  }
}

/** Blobs of one image that wait or move. */
const maxPending = 64;

const nothing: Amount = { blobs: 0, bytes: 0 };

function plus({ blobs, bytes }: Amount, size: number): Amount {
  return { blobs: blobs + 1, bytes: bytes + size };
}

function* distinctBlobs(manifests: readonly ListedManifest[]): Generator<ExpectedBytes> {
  const seen = new Set<Digest>();
  for (const { blobs } of manifests) {
    for (const blob of blobs) {
      if (!seen.has(blob.digest)) yield blob;
      seen.add(blob.digest);
    }
  }
}

function lost({ digest }: ExpectedBytes, { name }: ImageSource): StowageError {
  return new StowageError("STORE_DAMAGED", `Cannot copy "${digest}": an image needs it, and ${name} lost it`);
}

function wrongCopy({ digest, size }: ExpectedBytes, found: number | undefined): StowageError {
  const message = `Cannot copy "${digest}": the store's copy has ${found ?? "no"} bytes, expected ${size}`;
  return new StowageError("STORE_UNAVAILABLE", message, { detail: { digest, found, expected: size } });
}

function notByStore({ digest }: ExpectedBytes, source: ImageSource, { store }: Layout): StowageError {
  const message = `Cannot copy "${digest}": ${store.url} cannot copy from ${source.name}; --copy auto streams the bytes`;
  return new StowageError("UNSUPPORTED", message);
}
