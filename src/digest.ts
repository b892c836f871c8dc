/**
 * Digests of the OCI image specification ("Digests"): an algorithm and the hash of a content, such as `sha256:9f86…`.
 */
import { Buffer } from "node:buffer";
import { type Hash, createHash } from "node:crypto";

/**
 * The algorithms that Stowage accepts, with the number of hex digits and the name in Web Crypto. One more needs one
 * line here.
 */
const algorithms = {
  sha256: { hexLength: 64, webName: "SHA-256" },
  sha512: { hexLength: 128, webName: "SHA-512" },
} as const;

export type Algorithm = keyof typeof algorithms;

export const algorithmNames = Object.keys(algorithms) as readonly Algorithm[];

/** An accepted algorithm, a colon and lower-case hex digits. `isDigest` tells whether a value is one. */
export type Digest = `${Algorithm}:${string}`;

export const digestPattern = new RegExp(
  `^(?:${Object.entries(algorithms)
    .map(([name, { hexLength }]) => `${name}:[0-9a-f]{${hexLength}}`)
    .join("|")})$`,
);
const anyDigestPattern = /^([a-z0-9]+(?:[.+_-][a-z0-9]+)*):[a-zA-Z0-9=_-]+$/;

/** The form of a digest, for messages about a text that is none. */
export const digestForm = Object.entries(algorithms)
  .map(([name, { hexLength }]) => `"${name}:" and ${hexLength} lower-case hex digits`)
  .join(", or ");

/** Is the value a digest with an algorithm that Stowage accepts? */
export function isDigest(value: unknown): value is Digest {
  return typeof value === "string" && digestPattern.test(value);
}

/** Does the text have the form of a digest, with an algorithm that Stowage does not accept? */
export function isOtherDigest(text: string): boolean {
  const [, algorithm] = anyDigestPattern.exec(text) ?? [];
  return algorithm !== undefined && !Object.hasOwn(algorithms, algorithm);
}

/** Is the text the name of an algorithm that Stowage accepts? */
export function isAlgorithm(text: string): text is Algorithm {
  return Object.hasOwn(algorithms, text);
}

export function algorithmOf(digest: Digest): Algorithm {
  return digest.slice(0, digest.indexOf(":")) as Algorithm;
}

/** The hash alone, in hex digits. */
export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

/** The digest with this hash. The length tells the algorithm. Undefined if the text is no hash. */
export function digestOfHex(hex: string): Digest | undefined {
  return algorithmNames.map((algorithm): Digest => `${algorithm}:${hex}`).find(isDigest);
}

/** The number of bytes of a digest's hash. */
export function hashBytes(algorithm: Algorithm): number {
  return algorithms[algorithm].hexLength / 2;
}

/** The path of a digest's content under `prefix`, as an image layout has it: `blobs/sha256/9f86…`. */
export function pathUnder(prefix: string, digest: Digest): string {
  return `${prefix}${digest.replace(":", "/")}`;
}

/** The digest whose path under `prefix` this is. Undefined for any other path. */
export function digestUnder(prefix: string, path: string): Digest | undefined {
  const digest = path.slice(prefix.length).replace("/", ":");
  return isDigest(digest) && pathUnder(prefix, digest) === path ? digest : undefined;
}

/** The digest of bytes in memory. Every runtime computes it in another thread. */
export async function digestOf(bytes: Uint8Array, algorithm: Algorithm = "sha256"): Promise<Digest> {
  const hash = await crypto.subtle.digest(algorithms[algorithm].webName, bytes);
  return `${algorithm}:${Buffer.from(hash).toString("hex")}`;
}

/** The hash of bytes that come in chunks, computed here or in another thread. */
export interface ChunkHash {
  /** A promise ends when the chunk's memory can be used again. */
  update(chunk: Uint8Array): unknown;
  /** Ends the hash. */
  digest(): Digest | Promise<Digest>;
  /** Ends the hash without a digest. Does nothing after `digest`. */
  cancel(): void;
}

/** Begins a hash. */
export type Hasher = (algorithm: Algorithm) => ChunkHash;

/** Computes the digest of bytes that come in chunks. */
export class Digester implements ChunkHash {
  readonly #algorithm: Algorithm;
  readonly #hash: Hash;

  constructor(algorithm: Algorithm = "sha256") {
    this.#algorithm = algorithm;
    this.#hash = createHash(algorithm);
  }

  update(chunk: Uint8Array): this {
    this.#hash.update(chunk);
    return this;
  }

  digest(): Digest {
    return `${this.#algorithm}:${this.#hash.digest("hex")}`;
  }

  cancel(): void {}
}
