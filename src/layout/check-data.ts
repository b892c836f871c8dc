/**
 * Checks the `data` of descriptors. `data` holds a blob's bytes in base64, so readers do not have to fetch the blob
 * (image specification, "Properties").
 */
import { Buffer } from "node:buffer";
import { type Digest, algorithmOf, digestOf, isDigest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { describeJson, isJsonObject, parseJson } from "../oci/json.ts";

/** A blob that is in a descriptor's `data`, and perhaps nowhere else. */
export interface InlinedBlob {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
}

/**
 * Checks the `data` of a manifest or an index: the bytes must have the digest of their descriptor. Returns the blobs of
 * all descriptors except the subject: a subject may be missing. Throws `MANIFEST_INVALID`, `SIZE_INVALID` or
 * `DIGEST_INVALID`.
 */
export async function checkData(bytes: Uint8Array, name: string): Promise<readonly InlinedBlob[]> {
  // A second parse would be as slow as the first. Few manifests have `data`, so a fast search for the text comes first.
  if (!Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes('"data"')) return [];
  const json = parseJson(bytes);
  if (!isJsonObject(json)) return [];
  const { config, subject, layers, manifests } = json;
  if (isJsonObject(subject)) await checkDescriptor(subject, name);
  const inlined: InlinedBlob[] = [];
  for (const descriptor of [config, layers, manifests].flat()) {
    const blob = isJsonObject(descriptor) ? await checkDescriptor(descriptor, name) : undefined;
    if (blob !== undefined) inlined.push(blob);
  }
  return inlined;
}

async function checkDescriptor(
  { data, digest, size }: Readonly<Record<string, unknown>>,
  name: string,
): Promise<InlinedBlob | undefined> {
  if (data === undefined || data === null) return undefined;
  const fail = (code: "MANIFEST_INVALID" | "SIZE_INVALID" | "DIGEST_INVALID", found: string): never => {
    throw new StowageError(code, `Cannot take "${name}": the data that it has for ${describeJson(digest)} ${found}`);
  };
  if (typeof data !== "string") return fail("MANIFEST_INVALID", `is ${describeJson(data)}, expected base64`);
  const bytes = Buffer.from(data, "base64");
  if (bytes.toString("base64") !== data) return fail("MANIFEST_INVALID", "is no base64");
  if (bytes.length !== size) return fail("SIZE_INVALID", `has ${bytes.length} bytes, expected ${String(size)}`);
  const found = await digestOf(bytes, isDigest(digest) ? algorithmOf(digest) : undefined);
  if (found !== digest) return fail("DIGEST_INVALID", `has the digest "${found}"`);
  return { digest: found, bytes };
}
