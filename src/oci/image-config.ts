/** An image's config (image specification, "Image Configuration"), as far as Stowage looks into it. */
import { StowageError, messageOf } from "../errors.ts";
import { describeJson, isJsonObject, parseJson } from "./json.ts";

export const ociConfigType = "application/vnd.oci.image.config.v1+json";

/** The digests of the image's layers as they are unpacked, from the first to the last. Throws `MANIFEST_INVALID`. */
export function parseDiffIds(bytes: Uint8Array, name: string): readonly string[] {
  const json = parse(bytes, name);
  const rootfs = isJsonObject(json) ? json["rootfs"] : undefined;
  const diffIds = isJsonObject(rootfs) ? (rootfs["diff_ids"] ?? []) : undefined; // Docker leaves an empty list out, or writes `null`
  if (Array.isArray(diffIds) && diffIds.every((id) => typeof id === "string")) return diffIds;
  throw invalid(name, `found ${describeJson(diffIds)} as rootfs.diff_ids, expected a list of digests`);
}

function parse(bytes: Uint8Array, name: string): unknown {
  try {
    return parseJson(bytes);
  } catch (error) {
    throw invalid(name, messageOf(error), error);
  }
}

function invalid(name: string, reason: string, cause?: unknown): StowageError {
  return new StowageError("MANIFEST_INVALID", `Cannot read the config "${name}": ${reason}`, { cause });
}
