/** Digests as bytes, for lists of very many. */
import { Buffer } from "node:buffer";
import { type Digest, algorithmNames, algorithmOf, hashBytes, hexOf } from "../digest.ts";

/** A digest as bytes, which take less memory than a text: one byte numbers the algorithm, the hash follows. */
export function packDigest(digest: Digest): Buffer {
  return Buffer.from(`0${algorithmNames.indexOf(algorithmOf(digest))}${hexOf(digest)}`, "hex");
}

/** The length of a packed digest in bytes. */
export function packedBytes(digest: Digest): number {
  return 1 + hashBytes(algorithmOf(digest));
}

/** The bytes of the packed digest that begins at `at`. Its first byte tells the length. */
export function packedDigestAt(bytes: Buffer, at: number): Buffer {
  const algorithm = algorithmNames[bytes[at] ?? 0] ?? "sha256";
  return bytes.subarray(at, at + 1 + hashBytes(algorithm));
}

/** The digest that `packDigest` has packed. */
export function unpackDigest(packed: Buffer): Digest {
  return `${algorithmNames[packed[0] ?? 0] ?? "sha256"}:${packed.toString("hex", 1)}`;
}
