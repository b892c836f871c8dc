/**
 * Moves blobs into the target: the target's store copies them, or their bytes stream through this process and are
 * verified.
 */
import { type Digest, algorithmOf } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { getBlob, headBlob } from "../layout/blobs.ts";
import type { KnownBlobs } from "../layout/find-named.ts";
import { blobKey } from "../layout/keys.ts";
import type { Layout } from "../layout/layout.ts";
import type { ListedManifest } from "../layout/list-closure.ts";
import { deleteBlob } from "../layout/marks.ts";
import type { RescuingStore } from "../layout/rescuing-store.ts";
import { storeBlob } from "../layout/store-blob.ts";
import type { BlobStatus } from "../layout/write-blob.ts";
import { hashObject } from "../storage/hash-object.ts";
import type { ImageSource } from "../remote/image-source.ts";
import type { ObjectStore, PutCondition, WriteResult } from "../storage/object-store.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import { concurrently } from "../streams/concurrently.ts";
import { Line } from "../streams/line.ts";
import { type ExpectedBytes, isWrongBytes } from "../streams/verify-bytes.ts";
import { type PlannedImage, findEtags } from "./plan-copy.ts";
import { oneChunk } from "../streams/readable-stream.ts";

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
/** The copy relies for this long on the look that found a blob absent. Then it looks again before the blob moves. */
const maxLookMs = 60_000;
/** The number of streams is computed for a blob of this size. */
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
  #seenMs = Number.NEGATIVE_INFINITY;
  #etags: Promise<ReadonlyMap<Digest, string>> | undefined;
  #presentAmount: Amount = nothing;
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

  /**
   * Tells which blobs the copy needs, which of these the target has, and when a look at the target began to find that
   * out.
   */
  expect(
    sizes: ReadonlyMap<Digest, number>,
    { present, seenMs }: { readonly present: ReadonlySet<Digest>; readonly seenMs: number },
  ): void {
    this.#seenMs = seenMs;
    for (const [digest, size] of sizes) this.#sizes.set(digest, size);
    for (const digest of present) {
      this.#present.add(digest);
      this.#presentAmount = plus(this.#presentAmount, sizes.get(digest) ?? 0);
    }
  }

  get totals(): BlobTotals {
    const sizes = [...this.#sizes.values()];
    const total = { blobs: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) };
    return { total, present: this.#presentAmount, copied: this.#copied, copiedByStore: this.#copiedByStore };
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

  /** Stores the blobs that the target lacks, then the manifests, children before parents. */
  async store({ repository, closure }: PlannedImage, store: RescuingStore): Promise<void> {
    const manifests = [...closure.manifests.values()];
    const missing = distinctBlobs(manifests).filter(({ digest }) => !this.#present.has(digest));
    const { concurrency = defaultConcurrency } = this.#options;
    await concurrently(missing, concurrency, async (blob) =>
      this.#once(blob, async () => this.#copyBlob(repository, blob, store)),
    );
    for (const manifest of manifests) {
      await this.#once(manifest, async () => this.#copyManifest(repository, manifest, store));
    }
  }

  /** Images share blobs: each blob moves once. */
  async #once({ digest, size }: ExpectedBytes, move: () => Promise<BlobStatus>): Promise<void> {
    const moving =
      this.#moves.get(digest) ??
      move().then((status) => {
        this.#present.add(digest);
        if (status !== "present") this.#copied = plus(this.#copied, size);
      });
    this.#moves.set(digest, moving);
    await moving;
  }

  async #copyBlob(repository: string, blob: ExpectedBytes, store: RescuingStore): Promise<BlobStatus> {
    const { mode = "auto", caller = "", signal } = this.#options;
    return this.#line.inTurn({ caller, signal }, async () => {
      const status = mode === "stream" ? "refused" : await this.#copyByStore(blob, store);
      if (status !== "refused") return status;
      if (mode === "server") throw notByStore(blob, this.#source, this.#target);
      return this.#stream(repository, blob, store);
    });
  }

  async #copyByStore(blob: ExpectedBytes, store: RescuingStore): Promise<BlobStatus | "refused"> {
    const { sourceStore, verify = false, onBytes, signal } = this.#options;
    const { digest, size } = blob;
    if (sourceStore === undefined) return "refused";
    const key = blobKey(digest);
    let isResumed = false;
    const sourceEtag = await this.#sourceEtagOf(digest, sourceStore);
    const copyIf = async (
      condition: PutCondition,
      isSeenAbsent = false,
    ): Promise<WriteResult["outcome"] | "refused"> => {
      const options = { size, digest, condition, isSeenAbsent, signal };
      let result = await store.copyFrom(sourceStore, key, key, { ...options, sourceEtag });
      if (result === "refused" && sourceEtag !== undefined) {
        result = await store.copyFrom(sourceStore, key, key, options); // the source may have a new object since the listing
      }
      if (result === "refused") return result;
      isResumed = result.isResumed === true;
      return result.outcome;
    };
    await store.rescue(digest, { signal }); // waits for a gc that is deleting an object of this name
    let outcome = await copyIf("absent", this.#target.clock.now() - this.#seenMs <= maxLookMs);
    if (outcome === "conflict") {
      const found = await headBlob(store, digest, { signal });
      if (found?.size === size) return "present";
      outcome = await copyIf(found === undefined ? "absent" : { etag: found.etag }); // replaces a damaged object
    }
    if (outcome === "refused") return outcome;
    if (outcome === "conflict") throw contested(blob, store);
    const isHashTold = algorithmOf(digest) === "sha256"; // no store tells another hash of a copy
    if (verify || isResumed || !isHashTold) await this.#verify(blob, store);
    onBytes?.(size);
    this.#copiedByStore = plus(this.#copiedByStore, size);
    return "written";
  }

  /**
   * Lists the source once, after the store has made a first copy: until then, it may make none. Without the right to
   * list, each blob is asked for.
   */
  async #sourceEtagOf(digest: Digest, store: ObjectStore): Promise<string | undefined> {
    if (this.#copiedByStore.blobs === 0) return undefined;
    this.#etags ??= this.#listEtags(store);
    return (await this.#etags).get(digest);
  }

  async #listEtags(store: ObjectStore): Promise<ReadonlyMap<Digest, string>> {
    const missing = new Map([...this.#sizes].filter(([digest]) => !this.#present.has(digest)));
    return findEtags(missing, { store, signal: this.#options.signal }).catch(() => new Map<Digest, string>());
  }

  /** Deletes a copy with other bytes: the next copy would rely on it. */
  async #verify(blob: ExpectedBytes, store: RescuingStore): Promise<void> {
    const { signal } = this.#options;
    const { digest } = blob;
    const object = await getBlob(store, digest, { signal });
    const found = object && (await hashObject(object, algorithmOf(digest), { signal }));
    if (found?.digest === digest) return;
    await deleteBlob(store, digest);
    throw damaged(blob, this.#source, `the store's copy has digest "${found?.digest}"`);
  }

  async #stream(repository: string, blob: ExpectedBytes, store: RescuingStore): Promise<BlobStatus> {
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
      return await this.#store(blob, read(), store);
    } finally {
      release?.();
    }
  }

  /** Also if the target has the manifest: a damaged one is replaced. */
  async #copyManifest(repository: string, manifest: ListedManifest, store: RescuingStore): Promise<BlobStatus> {
    const { onBytes, signal } = this.#options;
    const { digest, size, mediaType } = manifest;
    const found = await this.#source.readManifest(repository, digest, { mediaType, signal });
    if (found === undefined) throw lost(manifest, this.#source);
    const status = await this.#store(manifest, oneChunk(found.bytes), store);
    if (!this.#present.has(digest)) onBytes?.(size);
    return status;
  }

  async #store(blob: ExpectedBytes, body: AsyncIterable<Uint8Array>, store: RescuingStore): Promise<BlobStatus> {
    const { budget } = this.#target;
    const { caller, signal } = this.#options;
    const { digest, size } = blob;
    const reader = new ByteReader(body);
    try {
      const { stored } = await storeBlob({ digest, size, body: reader.stream() }, { store, budget, caller, signal });
      return await stored;
    } catch (error) {
      throw isWrongBytes(error) ? damaged(blob, this.#source, error.message) : error;
    }
  }
}

const nothing: Amount = { blobs: 0, bytes: 0 };

function plus({ blobs, bytes }: Amount, size: number): Amount {
  return { blobs: blobs + 1, bytes: bytes + size };
}

function distinctBlobs(manifests: readonly ListedManifest[]): readonly ExpectedBytes[] {
  const blobs = new Map<Digest, ExpectedBytes>();
  for (const manifest of manifests) {
    for (const { digest, size } of manifest.blobs) blobs.set(digest, { digest, size });
  }
  return [...blobs.values()];
}

function lost({ digest }: ExpectedBytes, { name }: ImageSource): StowageError {
  return new StowageError("STORE_DAMAGED", `Cannot copy "${digest}": an image needs it, and ${name} lost it`);
}

function damaged({ digest }: ExpectedBytes, { name }: ImageSource, problem: string): StowageError {
  const message = `Cannot copy "${digest}": the bytes of ${name} are damaged: ${problem}`;
  return new StowageError("STORE_DAMAGED", message, { detail: { digest } });
}

function contested({ digest }: ExpectedBytes, { url }: ObjectStore): StowageError {
  const message = `Cannot copy "${digest}": others write or delete it in ${url} at the same time`;
  return new StowageError("STORE_UNAVAILABLE", message, { detail: { digest } });
}

function notByStore({ digest }: ExpectedBytes, source: ImageSource, { store }: Layout): StowageError {
  const message = `Cannot copy "${digest}": ${store.url} cannot copy from ${source.name}; --copy auto streams the bytes`;
  return new StowageError("UNSUPPORTED", message);
}
