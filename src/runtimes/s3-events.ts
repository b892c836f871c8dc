/** The events of a bucket of S3, as Lambda hands them over. */
import { StowageError, messageOf } from "../errors.ts";
import type { Report } from "../events.ts";
import { isJsonObject } from "../oci/json.ts";
import type { OpenedApp } from "../open-app.ts";
import { type WrittenObject, loadWritten } from "./load-incoming.ts";

/**
 * The objects that were written, from an event of S3 (`{"Records":[{"eventSource":"aws:s3",…}]}`). Undefined for any
 * other event. Empty for `s3:TestEvent`, which S3 sends when its events are first directed to the function.
 */
export function writtenObjects(event: unknown): readonly WrittenObject[] | undefined {
  if (isJsonObject(event) && event["Event"] === "s3:TestEvent") return [];
  const records: unknown = isJsonObject(event) ? event["Records"] : undefined;
  if (!Array.isArray(records) || !records.every(isS3Record)) return undefined;
  return records.flatMap(({ eventName, s3 }) => {
    const { key, eTag } = isJsonObject(s3) && isJsonObject(s3["object"]) ? s3["object"] : {};
    if (typeof key !== "string" || typeof eventName !== "string" || !eventName.startsWith("ObjectCreated:")) return [];
    return [{ key: decodeKey(key), etag: typeof eTag === "string" ? eTag : undefined }];
  });
}

/** Loads one object after the other. At the end, throws if some loads can succeed later. */
export async function loadS3Events(
  objects: readonly WrittenObject[],
  app: Pick<OpenedApp, "layout" | "config" | "copyTargets">,
  report: Report,
  signal: AbortSignal,
): Promise<void> {
  const failures: unknown[] = [];
  for (const object of objects) {
    const failure = await loadWritten(app, object, report, signal);
    if (failure !== undefined) failures.push(failure);
  }
  if (failures.length === 0) return;
  const [cause] = failures;
  const message = `Cannot load ${failures.length} of ${objects.length} objects: ${messageOf(cause)}`;
  throw new StowageError("STORE_UNAVAILABLE", message, { cause });
}

function isS3Record(record: unknown): record is Readonly<Record<string, unknown>> {
  return isJsonObject(record) && record["eventSource"] === "aws:s3";
}

/**
 * Keys come as in a form: `+` for a space, other characters as `%XX`. A key that cannot be decoded is used as it is.
 */
function decodeKey(key: string): string {
  try {
    return decodeURIComponent(key.replaceAll("+", " "));
  } catch {
    return key;
  }
}
