/** Digests of the OCI image specification ("Digests"), of which Stowage stores blobs under SHA-256 alone. */

const sha256Pattern = /^sha256:[0-9a-f]{64}$/;
const algorithmPattern = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;

/** Is it `sha256:` and 64 lower-case hexadecimal digits? */
export function isSha256Digest(text: string): boolean {
  return sha256Pattern.test(text);
}

/** Has it the form of a digest of any algorithm, `algorithm:encoded`? */
export function isDigest(text: string): boolean {
  return algorithmPattern.test(text);
}

/** The 64 hexadecimal digits of a SHA-256 digest. */
export function hexOf(digest: string): string {
  return digest.slice("sha256:".length);
}
