/** Reads images from a store, as `RegistrySource` reads them from a registry. */
import { type Digest, isDigest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import type { Descriptor, ManifestIdentity } from "../oci/descriptor.ts";
import { expiresAnnotation, refersTo, subjectOf, tagOf } from "../oci/index-entry.ts";
import type { ImageSource, ListedEntry, ListedReferrer, SourceManifest } from "../remote/image-source.ts";
import type { CallOptions } from "../storage/object-store.ts";
import { noBytes } from "../streams/readable-stream.ts";
import type { ExpectedBytes } from "../streams/verify-bytes.ts";
import { getBlob, headBlob } from "./blobs.ts";
import { changeTimeOf } from "./index/change-history.ts";
import type { Layout } from "./layout.ts";
import { listRepositories } from "./list-repositories.ts";
import { readManifest } from "./read-manifest.ts";
import { readRepository } from "./read-repository.ts";

/** An image source. By digest, it finds every manifest and blob of the store, because all repositories share them. */
export class LayoutSource implements ImageSource {
  readonly #layout: Layout;
  readonly #caller: string | undefined;

  /** By repository: its entries, if the source keeps them. */
  readonly #kept: Map<string, Promise<readonly Descriptor[]>> | undefined;

  /**
   * With `keepsIndexes`, the source reads each index once. So all images come from the same moment. A large index takes
   * some 100 MiB.
   */
  constructor(
    layout: Layout,
    {
      caller,
      keepsIndexes = false,
    }: { readonly caller?: string | undefined; readonly keepsIndexes?: boolean | undefined } = {},
  ) {
    this.#layout = layout;
    this.#caller = caller;
    this.#kept = keepsIndexes ? new Map() : undefined;
  }

  get name(): string {
    return this.#layout.store.url;
  }

  async listRepositories(options: CallOptions = {}): Promise<readonly string[]> {
    return listRepositories(this.#layout, options);
  }

  async listEntries(repository: string, { signal }: CallOptions = {}): Promise<readonly ListedEntry[]> {
    const entries = await this.#entriesOf(repository, { signal });
    return entries.map((entry) => {
      const reference = tagOf(entry) ?? entry.digest;
      const expires = entry.annotations?.[expiresAnnotation];
      return { reference, ...identityOf(entry), subject: subjectOf(entry), changed: changeTimeOf(entry), expires };
    });
  }

  async listReferrers(
    repository: string,
    digests: ReadonlySet<Digest>,
    { signal }: CallOptions = {},
  ): Promise<readonly ListedReferrer[]> {
    const entries = await this.#entriesOrNone(repository, { signal });
    const found = entries.filter(refersTo(digests));
    return found.map((entry) => ({ ...identityOf(entry), tag: tagOf(entry) }));
  }

  async headManifest(
    repository: string,
    reference: string,
    options: CallOptions = {},
  ): Promise<ManifestIdentity | undefined> {
    const entry = await this.#findEntry(repository, reference, options);
    if (entry !== undefined || !isDigest(reference)) return entry;
    const found = await this.readManifest(repository, reference, options);
    return found && { digest: found.digest, mediaType: found.mediaType, size: found.size };
  }

  async readManifest(
    repository: string,
    reference: string,
    { mediaType, signal }: CallOptions & { readonly mediaType?: string | undefined } = {},
  ): Promise<SourceManifest | undefined> {
    const wanted = isDigest(reference)
      ? { digest: reference, mediaType }
      : await this.#findEntry(repository, reference, { signal });
    if (wanted === undefined) return undefined;
    const { digest } = wanted;
    const requester = { caller: this.#caller, signal };
    const found = await this.#ask(async () => readManifest(this.#layout, wanted, requester), signal);
    return found && { digest, mediaType: found.manifest.mediaType, size: found.bytes.length, ...found };
  }

  async headBlob(_: string, digest: Digest, options: CallOptions = {}): Promise<number | undefined> {
    const { signal } = options;
    return (await this.#ask(async () => headBlob(this.#layout.store, digest, options), signal))?.size;
  }

  async readBlob(
    repository: string,
    { digest, size }: ExpectedBytes,
    { start = 0, signal }: CallOptions & { readonly start?: number | undefined } = {},
  ): Promise<AsyncIterable<Uint8Array> | undefined> {
    const { store } = this.#layout;
    const length = start === 0 ? undefined : await this.headBlob(repository, digest, { signal });
    if (start > 0 && length === undefined) return undefined;
    if (length === size && start >= size) return noBytes();
    if (length !== undefined && length !== size) throw otherSize(digest, { size, found: length });
    const range = start === 0 ? {} : { range: { start, end: size - 1 } };
    const blob = await getBlob(store, digest, { ...range, signal });
    if (blob === undefined || blob.size === size) return blob?.body;
    await blob.body[Symbol.asyncIterator]().return?.();
    throw otherSize(digest, { size, found: blob.size });
  }

  async #findEntry(
    repository: string,
    reference: string,
    { signal }: CallOptions,
  ): Promise<ManifestIdentity | undefined> {
    const entries = await this.#entriesOrNone(repository, { signal });
    const entry = entries.find((it) => (isDigest(reference) ? it.digest : tagOf(it)) === reference);
    return entry && identityOf(entry);
  }

  /** Throws `NAME_UNKNOWN`. */
  async #entriesOf(repository: string, { signal }: CallOptions): Promise<readonly Descriptor[]> {
    const kept = this.#kept?.get(repository);
    if (kept !== undefined) return kept;
    const reading = readRepository(this.#layout, repository, { caller: this.#caller, signal }).then(
      ({ entries }) => entries,
    );
    this.#kept?.set(repository, reading);
    return reading;
  }

  async #entriesOrNone(repository: string, options: CallOptions): Promise<readonly Descriptor[]> {
    try {
      return await this.#entriesOf(repository, options);
    } catch (error) {
      if (error instanceof StowageError && error.code === "NAME_UNKNOWN") return [];
      throw error;
    }
  }

  /** Waits for the caller's turn: an image with very many parts leaves room for other callers. */
  async #ask<T>(question: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    return this.#layout.budget.ask(question, { caller: this.#caller, signal });
  }
}

function identityOf({ digest, mediaType, size }: Descriptor): ManifestIdentity {
  return { digest, mediaType, size };
}

function otherSize(digest: Digest, { size, found }: { readonly size: number; readonly found: number }): StowageError {
  return new StowageError("SIZE_INVALID", `Cannot read blob "${digest}": it has ${found} bytes, expected ${size}`);
}
