/**
 * A place that images are read from: a store, or a registry. Both look the same to all other code.
 *
 * What is not there is a value. What cannot be read is an error: `UNAUTHORIZED` or `DENIED` if the source lets the
 * caller not in, `TOOMANYREQUESTS`, `TIMED_OUT` or `STORE_UNAVAILABLE` if the source does not answer, and the errors of
 * wrong bytes.
 */
import type { Digest } from "../digest.ts";
import type { ManifestIdentity } from "../oci/descriptor.ts";
import type { Manifest } from "../oci/manifest.ts";
import type { CallOptions } from "../storage/object-store.ts";
import type { ExpectedBytes } from "../streams/verify-bytes.ts";

/** A manifest that was read. Its bytes have the digest. */
export interface SourceManifest extends ManifestIdentity {
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
}

/** An image in a list. A registry lists only tags, without the rest. */
export interface ListedEntry extends Partial<ManifestIdentity> {
  /** The tag, or the digest of an image without a tag. */
  readonly reference: string;
  /** For a referrer, the digest of its subject. */
  readonly subject?: Digest | undefined;
  /** When the tag was changed last, in milliseconds since 1970. A registry does not tell. */
  readonly changed?: number | undefined;
  /** The end of the image, if a load has given it one. A registry does not tell. */
  readonly expires?: string | undefined;
}

/** A manifest that refers to another one: by its subject, or by a tag such as `sha256-<hex>.sig`. */
export interface ListedReferrer extends ManifestIdentity {
  readonly tag?: string | undefined;
}

export interface ImageSource {
  /** Names the source in messages: its URL, without secrets. */
  readonly name: string;

  /** The names of all repositories. Throws `UNSUPPORTED` if a registry does not list them. */
  listRepositories(options?: CallOptions): Promise<readonly string[]>;

  /** The images of a repository. Throws `NAME_UNKNOWN` if there is no such repository. */
  listEntries(repository: string, options?: CallOptions): Promise<readonly ListedEntry[]>;

  /**
   * What refers to any of the manifests: signatures, attestations and the like. A referrer with two tags comes twice.
   */
  listReferrers(
    repository: string,
    digests: ReadonlySet<Digest>,
    options?: CallOptions,
  ): Promise<readonly ListedReferrer[]>;

  /**
   * The manifest behind a tag or a digest, without reading it if possible. Undefined if there is none. A registry's
   * word is not checked.
   */
  headManifest(repository: string, reference: string, options?: CallOptions): Promise<ManifestIdentity | undefined>;

  /**
   * Reads a manifest by tag or digest. Undefined if there is none. `mediaType` is that of its descriptor: it counts if
   * the bytes have none. Throws `DIGEST_INVALID` (of a store: `STORE_DAMAGED`), `LIMIT_EXCEEDED` above
   * `maxManifestBytes`, and the errors of `parseManifest`.
   */
  readManifest(
    repository: string,
    reference: string,
    options?: CallOptions & { readonly mediaType?: string | undefined },
  ): Promise<SourceManifest | undefined>;

  /** The length of a blob in bytes. Undefined if there is no such blob. */
  headBlob(repository: string, digest: Digest, options?: CallOptions): Promise<number | undefined>;

  /**
   * Reads a blob from `start` to its end. Undefined if there is no such blob. The caller reads the bytes to the end or
   * leaves the `for await` early, and checks them (`VerifiedBytes`): a source can send other bytes than the digest
   * names. The number of bytes is right, else the stream throws `SIZE_INVALID` or `STORE_UNAVAILABLE`.
   */
  readBlob(
    repository: string,
    blob: ExpectedBytes,
    options?: CallOptions & { readonly start?: number | undefined },
  ): Promise<AsyncIterable<Uint8Array> | undefined>;
}
