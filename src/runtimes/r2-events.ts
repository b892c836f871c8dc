/** The events of a bucket of R2, as a queue brings them to a Worker: tarballs under `incoming/` are loaded. */
import { messageOf, printable, quote } from "../errors.ts";
import { summarize } from "../load/receipt.ts";
import { isJsonObject } from "../oci/json.ts";
import type { OpenedApp } from "../open-app.ts";
import { incomingKeyOf, isRetryable, loadIncoming } from "./load-incoming.ts";

/** What Stowage uses of a batch of a Cloudflare Queue. */
export interface EventBatch {
  readonly messages: readonly EventMessage[];
}

export interface EventMessage {
  readonly body: unknown;
  ack(): void;
  /** Brings it again later, as often as the queue's settings say. */
  retry(): void;
}

/** Characters of a message that the log shows. A message has up to 128 KB. */
const maxShownLength = 500;

export interface LoadEventsOptions extends Pick<OpenedApp, "layout" | "config"> {
  readonly log: (line: string) => void;
}

/** One load after the other, as a Worker has little memory. */
export async function loadR2Events({ messages }: EventBatch, options: LoadEventsOptions): Promise<void> {
  for (const message of messages) {
    if (await isDone(message.body, options)) message.ack();
    else message.retry();
  }
}

/** False if it may help to try again later. */
async function isDone(event: unknown, { layout, config, log }: LoadEventsOptions): Promise<boolean> {
  const object = writtenObject(event);
  const key = object && incomingKeyOf(object.key, layout.store.url);
  if (object === undefined || key === undefined) {
    log(`nothing to load: ${textOf(event)}`);
    return true;
  }
  try {
    const { immutableTags } = config;
    const receipt = await loadIncoming(layout, key, { immutableTags, etag: object.eTag, log });
    if (receipt !== undefined) log(`${quote(key)}: ${summarize(receipt)}`);
    return true;
  } catch (error) {
    const willRetry = isRetryable(error);
    log(`cannot load ${quote(key)}, ${willRetry ? "will try again" : "given up"}: ${messageOf(error)}`);
    return !willRetry;
  }
}

/** The object that an event says was written: `{"action":"PutObject","object":{"key","size","eTag"},…}`. */
function writtenObject(event: unknown): { readonly key: string; readonly eTag: string } | undefined {
  const { action, object } = isJsonObject(event) ? event : {};
  if (typeof action !== "string" || !/^(?:PutObject|CopyObject|CompleteMultipartUpload)$/.test(action))
    return undefined;
  const { key, eTag } = isJsonObject(object) ? object : {};
  return typeof key === "string" && typeof eTag === "string" ? { key, eTag } : undefined;
}

/** The start of a message, for the log. Another producer's message may be no JSON: a queue carries any value, also `undefined`. */
function textOf(event: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(event);
  } catch {
    // Such as a `bigint`, or an object that holds itself.
  }
  return printable((text ?? `a message of type ${typeof event}`).slice(0, maxShownLength));
}
