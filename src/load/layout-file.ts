/** A file of a layout that is kept in memory until the end of the archive: `index.json` and `oci-layout`. */
import type { ArchiveEntry } from "../archive/read-archive.ts";
import { type ErrorCode, StowageError, messageOf } from "../errors.ts";
import { describeJson, isJsonObject, parseJson } from "../oci/json.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import { isSameAs } from "../streams/same-bytes.ts";

export interface LayoutFileOptions {
  readonly maxBytes: number;
  /** The setting that says so, if one does. */
  readonly limit?: string;
  /** The code of the error if the archive has two that differ. */
  readonly code: ErrorCode;
}

/**
 * Reads the file. `before` is what the archive had under the same path: the same bytes may come again. Throws
 * `LIMIT_EXCEEDED` if it is too large, and an error with `code` if it differs.
 */
export async function readLayoutFile(
  { path, size, body }: ArchiveEntry,
  before: Uint8Array | undefined,
  { maxBytes, limit, code }: LayoutFileOptions,
): Promise<Uint8Array> {
  if (size > maxBytes) {
    const setting = limit === undefined ? "" : ` (${limit})`;
    throw new StowageError(
      "LIMIT_EXCEEDED",
      `Cannot read ${path}: it has ${size} bytes, at most ${maxBytes} are allowed${setting}`,
      { detail: { ...(limit !== undefined && { limit }), found: size, expected: maxBytes } },
    );
  }
  if (before === undefined) return collectBytes(body, size);
  if (await isSameAs(before, body)) return before;
  throw new StowageError(code, `Cannot read ${path}: the archive has it twice, and the second time it is another`);
}

/**
 * Checks an `oci-layout` (image specification, "oci-layout file"). It may be missing: older tools left it out. Throws
 * `ARCHIVE_INVALID` if it is none, and `UNSUPPORTED` if it is one of a later version.
 */
export function checkLayoutVersion(bytes: Uint8Array): void {
  let json: unknown;
  try {
    json = parseJson(bytes);
  } catch (error) {
    throw new StowageError("ARCHIVE_INVALID", `Cannot read oci-layout as JSON: ${messageOf(error)}`, { cause: error });
  }
  const version = isJsonObject(json) ? json["imageLayoutVersion"] : undefined;
  if (typeof version !== "string") {
    const found = isJsonObject(json) ? `imageLayoutVersion ${describeJson(version)}` : describeJson(json);
    throw new StowageError("ARCHIVE_INVALID", `Cannot read oci-layout: found ${found}, expected a version`);
  }
  if (!/^1\.\d+\.\d+$/.test(version)) {
    const message = `Cannot load the archive: found imageLayoutVersion ${describeJson(version)}, expected "1.0.0"`;
    throw new StowageError("UNSUPPORTED", message);
  }
}
