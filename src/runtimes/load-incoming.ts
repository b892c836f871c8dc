/**
 * Loads what somebody has put into the bucket itself, under `incoming/`, when the bucket's own event says so:
 *
 *     incoming/app.tar             a file name (.tar, .tar.gz, .tgz, .tar.zst): images keep their own names
 *     incoming/team/app:1.4        NAME[:TAG], as in the path of `/v1/load`
 *
 * Whoever may write there may load: the bucket's own rules say who that is. An event may come twice or late, and finds
 * nothing to do then.
 */
import { isTransient, quote, StowageError } from "../errors.ts";
import { incomingPrefix } from "../layout/keys.ts";
import type { Layout } from "../layout/layout.ts";
import { parseLoadPath } from "../load/archive-name.ts";
import type { LoadOptions } from "../load/load.ts";
import { loadArchive } from "../load/load-archive.ts";
import type { Receipt } from "../load/receipt.ts";

export interface LoadIncomingOptions extends Omit<LoadOptions, "name"> {
  /** The ETag that the event names. An object that has another one by now has an event of its own. */
  readonly etag?: string | undefined;
  readonly log?: ((line: string) => void) | undefined;
}

/**
 * Loads an object and deletes it, unless it has been replaced meanwhile (a write between the last look and the deletion
 * is lost: not every store deletes on a condition). Returns undefined where it is gone, or is not what the event was
 * about. `key` is relative to the store's prefix, see `incomingKeyOf`. Throws what `loadArchive` throws; the object stays
 * then, for another try (`isRetryable`) or for whoever looks why.
 */
export async function loadIncoming(
  layout: Layout,
  key: string,
  options: LoadIncomingOptions,
): Promise<Receipt | undefined> {
  const { store } = layout;
  const { signal, log = () => undefined } = options;
  const name = parseLoadPath(withoutPrefix(key, incomingPrefix) ?? key);
  const object = await store.get(key, { signal });
  if (object === undefined || (options.etag !== undefined && object.etag !== options.etag)) {
    await object?.body[Symbol.asyncIterator]().return?.();
    log(`nothing to load: ${quote(key)} is gone, or has been replaced`);
    return undefined;
  }
  const receipt = await loadArchive(layout, object.body, { ...options, name });
  const left = await store.head(key, { signal });
  if (left?.etag === object.etag) await store.delete(key, { signal });
  return receipt;
}

/**
 * The store's key of an object that an event names by its key in the bucket (an S3 event encodes it: decode it first).
 * Undefined if it does not lie under `incoming/` of this store, or stands for a folder.
 *
 * @param storeUrl such as `s3://bucket/prefix` or `r2:BINDING/prefix`
 */
export function incomingKeyOf(bucketKey: string, storeUrl: string): string | undefined {
  const prefix = /^[a-z0-9]+:(?:\/\/)?[^/]+(?:\/+(.*?))?\/*$/.exec(storeUrl)?.[1] ?? "";
  const inStore = prefix === "" ? bucketKey : withoutPrefix(bucketKey, `${prefix}/`);
  const rest = inStore === undefined ? undefined : withoutPrefix(inStore, incomingPrefix);
  return rest === undefined || rest === "" || rest.endsWith("/") ? undefined : inStore;
}

/** Is it worth another try later? What is wrong with the archive itself stays wrong. */
export function isRetryable(error: unknown): boolean {
  return !(error instanceof StowageError) || isTransient(error.code);
}

function withoutPrefix(text: string, prefix: string): string | undefined {
  return text.startsWith(prefix) ? text.slice(prefix.length) : undefined;
}
