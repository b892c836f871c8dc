/** The events of a bucket of S3, as Lambda hands them over: tarballs under `incoming/` are loaded. */
import { StowageError, messageOf, quote } from "../errors.ts";
import { summarize } from "../load/receipt.ts";
import { isJsonObject } from "../oci/json.ts";
import type { OpenedApp } from "../open-app.ts";
import { incomingKeyOf, isRetryable, loadIncoming } from "./load-incoming.ts";

/** An object that was written, as an event names it. */
export interface WrittenObject {
  /** In the bucket, the store's prefix included. */
  readonly key: string;
  readonly etag: string | undefined;
}

export interface LoadEventsOptions extends Pick<OpenedApp, "layout" | "config"> {
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

/**
 * The objects that the event says were written, or undefined if it is none of S3's
 * (`{"Records":[{"eventSource":"aws:s3",…}]}`). None for `s3:TestEvent`, which S3 sends when it is told where events go.
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

/** Loads one after the other. Throws in the end if it may help to try some of them again. */
export async function loadS3Events(objects: readonly WrittenObject[], options: LoadEventsOptions): Promise<void> {
  const { layout, config, signal, log } = options;
  const { immutableTags } = config;
  const { url } = layout.store;
  const failures: unknown[] = [];
  for (const { key: bucketKey, etag } of objects) {
    const key = incomingKeyOf(bucketKey, url);
    if (key === undefined) {
      log(`nothing to load: ${quote(bucketKey)} does not lie under incoming/ of ${url}`);
      continue;
    }
    try {
      const receipt = await loadIncoming(layout, key, { immutableTags, signal, etag, log });
      if (receipt !== undefined) log(`${quote(key)}: ${summarize(receipt)}`);
    } catch (error) {
      const willRetry = isRetryable(error);
      log(`cannot load ${quote(key)}, ${willRetry ? "will try again" : "given up"}: ${messageOf(error)}`);
      if (willRetry) failures.push(error);
    }
  }
  if (failures.length === 0) return;
  const [cause] = failures;
  const message = `Cannot load ${failures.length} of ${objects.length} objects: ${messageOf(cause)}`;
  throw new StowageError("STORE_UNAVAILABLE", message, { cause });
}

function isS3Record(record: unknown): record is Readonly<Record<string, unknown>> {
  return isJsonObject(record) && record["eventSource"] === "aws:s3";
}

/** Keys come as in a form: `+` for a space, other characters as `%XX`. One that is not encoded so is taken as it is. */
function decodeKey(key: string): string {
  try {
    return decodeURIComponent(key.replaceAll("+", " "));
  } catch {
    return key;
  }
}
