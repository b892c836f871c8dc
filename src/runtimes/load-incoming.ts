/**
 * Loads a tarball that was put into the bucket under `incoming/`. An event of the bucket names it:
 *
 *     incoming/app.tar             a file name (.tar, .tar.gz, .tgz, .tar.zst): images keep their own names
 *     incoming/team/app:1.4        NAME[:TAG], as in the path of `/v1/load`
 *
 * The bucket's own rules decide which clients may write there, and so may load. An event may come twice or late:
 * nothing is left to do then.
 */
import { checkCopies, copyEvent, copyToTargets } from "../copy/copy-to-targets.ts";
import { isTransient, messageOf, quote, StowageError } from "../errors.ts";
import { type Report, notice } from "../events.ts";
import { incomingPrefix } from "../layout/keys.ts";
import type { Layout } from "../layout/layout.ts";
import { parseLoadPath } from "../load/archive-name.ts";
import type { LoadOptions } from "../load/running-load.ts";
import { loadArchive } from "../load/load-archive.ts";
import { type Receipt, loadEvent } from "../load/receipt.ts";
import { formatReference } from "../oci/reference.ts";
import type { OpenedApp } from "../open-app.ts";

/** An object that was written, as an event names it. */
export interface WrittenObject {
  /** In the bucket: it begins with the store's prefix. */
  readonly key: string;
  readonly etag: string | undefined;
}

/**
 * Loads the object of an event and reports the result. Returns the error of a load that can succeed later. Other errors
 * are only reported: a damaged archive stays damaged.
 */
export async function loadWritten(
  app: Pick<OpenedApp, "layout" | "config" | "copyTargets">,
  { key: bucketKey, etag }: WrittenObject,
  report: Report,
  signal?: AbortSignal,
): Promise<unknown> {
  const { layout, config } = app;
  const key = incomingKeyOf(bucketKey, layout.store.url);
  if (key === undefined) {
    const where = `does not lie under incoming/ of ${layout.store.url}`;
    report(notice("info", `nothing to load: ${quote(bucketKey)} ${where}`));
    return undefined;
  }
  try {
    const { immutableTags } = config;
    const onLoaded = async (loaded: Receipt): Promise<void> => {
      report(loadEvent(loaded, { id: undefined, caller: undefined, key }));
      await copyAfterLoad(app, loaded, report, signal);
    };
    const receipt = await loadIncoming(layout, key, { etag, immutableTags, signal, onLoaded });
    if (receipt === undefined) {
      report(notice("info", `nothing to load: ${quote(key)} is gone, or has been replaced`));
    }
    return undefined;
  } catch (error) {
    const willRetry = isRetryable(error);
    const fate = willRetry ? "will try again" : "given up";
    report(notice("error", `cannot load ${quote(key)}, ${fate}: ${messageOf(error)}`));
    return willRetry ? error : undefined;
  }
}

export interface IncomingOptions extends Omit<LoadOptions, "name"> {
  readonly etag?: string | undefined;
  /** Called before the object is deleted. If it fails, the object stays for another try. */
  readonly onLoaded?: ((receipt: Receipt) => Promise<void>) | undefined;
}

/**
 * Throws `COPY_FAILED` if the copy can succeed later: the platform then sends the event again. A tag that may not move
 * in a target, for example, is only logged.
 */
async function copyAfterLoad(
  { layout, config, copyTargets }: Pick<OpenedApp, "layout" | "config" | "copyTargets">,
  { images }: Receipt,
  report: Report,
  signal = AbortSignal.any([]),
): Promise<void> {
  const targets = new Map([...copyTargets].filter(([name]) => config.copyAfterLoad.includes(name)));
  if (targets.size === 0) return;
  const { immutableTags } = config;
  const copies = await copyToTargets(layout, targets, images, { immutableTags, signal });
  report(copyEvent(copies, { id: undefined, caller: undefined }));
  const failures = copies.flatMap((copy) => copy.failures);
  if (failures.some(({ code }) => isTransient(code))) checkCopies(copies, { copies });
  for (const { repository, reference, message } of failures) {
    report(notice("error", `cannot copy ${formatReference(repository, reference)}: ${message}`));
  }
}

/**
 * Loads an object and deletes it. Returns undefined if the object is gone or has another ETag than the event's: the new
 * object has an event of its own. Throws what `loadArchive` throws. The object then stays, for another try or for a
 * person to look at.
 *
 * An object that was replaced during the load stays too. A replacement between that check and the deletion is lost: not
 * every store can delete on a condition. `key` is relative to the store's prefix, see `incomingKeyOf`.
 */
export async function loadIncoming(
  layout: Layout,
  key: string,
  { etag, onLoaded, ...options }: IncomingOptions = {},
): Promise<Receipt | undefined> {
  const { store } = layout;
  const { signal } = options;
  const name = parseLoadPath(withoutPrefix(key, incomingPrefix) ?? key);
  const object = await store.get(key, { signal });
  if (object === undefined || (etag !== undefined && object.etag !== etag)) {
    await object?.body[Symbol.asyncIterator]().return?.();
    return undefined;
  }
  const receipt = await loadArchive(layout, object.body, { ...options, name });
  await onLoaded?.(receipt);
  const left = await store.head(key, { signal });
  if (left?.etag === object.etag) await store.delete(key, { signal });
  return receipt;
}

/**
 * The store's key of an object, from its key in the bucket. Undefined if the object does not lie under `incoming/` of
 * this store, or stands for a folder. S3's events encode a key: decode it first.
 *
 * @param storeUrl such as `s3://bucket/prefix`, `s3://bucket/prefix?endpoint=host` or `r2:BINDING/prefix`
 */
export function incomingKeyOf(bucketKey: string, storeUrl: string): string | undefined {
  const prefix = /^[a-z0-9]+:(?:\/\/)?[^/?]+(?:\/+(.*?))?\/*(?:\?endpoint=[^?]*)?$/.exec(storeUrl)?.[1] ?? "";
  const inStore = prefix === "" ? bucketKey : withoutPrefix(bucketKey, `${prefix}/`);
  const rest = inStore === undefined ? undefined : withoutPrefix(inStore, incomingPrefix);
  return rest === undefined || rest === "" || rest.endsWith("/") ? undefined : inStore;
}

export function isRetryable(error: unknown): boolean {
  return !(error instanceof StowageError) || isTransient(error.code);
}

function withoutPrefix(text: string, prefix: string): string | undefined {
  return text.startsWith(prefix) ? text.slice(prefix.length) : undefined;
}
