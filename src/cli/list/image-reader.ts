/** Reads the images of a store or a service for `stowage ls`. What is malformed or gone is undefined: the list goes on. */
import { StowageError } from "../../errors.ts";
import { defaultLimits } from "../../limits.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import type {
  ImageSource,
  ListedEntry as SourceEntry,
  ManifestIdentity,
  SourceManifest,
} from "../../remote/image-source.ts";
import { collectBytes } from "../../streams/collect-bytes.ts";
import { VerifiedBytes } from "../../streams/verify-bytes.ts";

/** An image in a list. A service lists only tags, without the rest. */
export interface ListedEntry extends SourceEntry {
  readonly repository: string;
}

export function isComplete(entry: ListedEntry): entry is ListedEntry & ManifestIdentity {
  return entry.digest !== undefined && entry.mediaType !== undefined && entry.size !== undefined;
}

export class ImageReader {
  readonly #source: ImageSource;
  readonly #signal: AbortSignal;

  constructor(source: ImageSource, signal: AbortSignal) {
    this.#source = source;
    this.#signal = signal;
  }

  get name(): string {
    return this.#source.name;
  }

  /** The names of all repositories, in order. */
  async repositories(): Promise<readonly string[]> {
    return this.#source.listRepositories({ signal: this.#signal });
  }

  /** Throws `NAME_UNKNOWN`, `STORE_DAMAGED` or `LIMIT_EXCEEDED`. */
  async entries(repository: string): Promise<readonly ListedEntry[]> {
    const entries = await this.#source.listEntries(repository, { signal: this.#signal });
    return entries.map(({ reference, digest, mediaType, size, subject }) => ({
      repository,
      reference,
      ...(digest !== undefined && mediaType !== undefined && size !== undefined && { digest, mediaType, size }),
      ...(subject !== undefined && { subject }),
    }));
  }

  /** The manifest behind a tag or a digest, without reading it if possible. */
  async resolve(repository: string, reference: string): Promise<ManifestIdentity | undefined> {
    return this.#orUndefined(async () => this.#source.headManifest(repository, reference, { signal: this.#signal }));
  }

  async manifest(repository: string, reference: string): Promise<SourceManifest | undefined> {
    return this.#orUndefined(async () => this.#source.readManifest(repository, reference, { signal: this.#signal }));
  }

  /** A config. A very large one is not read. */
  async config(repository: string, config: Pick<Descriptor, "digest" | "size">): Promise<Uint8Array | undefined> {
    if (config.size > defaultLimits.maxManifestBytes) return undefined;
    return this.#orUndefined(async () => {
      const body = await this.#source.readBlob(repository, config, { signal: this.#signal });
      return body && collectBytes(new VerifiedBytes(body, config), config.size);
    });
  }

  async #orUndefined<T>(read: () => Promise<T | undefined>): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      if (error instanceof StowageError && isMalformed.has(error.code)) return undefined;
      throw error;
    }
  }
}

const isMalformed: ReadonlySet<string> = new Set([
  "DIGEST_INVALID",
  "MANIFEST_INVALID",
  "MANIFEST_UNKNOWN",
  "SIZE_INVALID",
  "UNSUPPORTED",
]);
