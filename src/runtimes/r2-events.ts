/** The events of a bucket of R2, as a queue brings them to a Worker. */
import { printable } from "../errors.ts";
import { type Report, notice } from "../events.ts";
import { isJsonObject } from "../oci/json.ts";
import type { OpenedApp } from "../open-app.ts";
import { type WrittenObject, loadWritten } from "./load-incoming.ts";

/** The part of a batch of a Cloudflare Queue that Stowage uses. */
export interface EventBatch {
  readonly messages: readonly EventMessage[];
}

export interface EventMessage {
  readonly body: unknown;
  ack(): void;
  /** The queue delivers the message again later, as often as its settings say. */
  retry(): void;
}

/** Characters of a message that the log shows. A message has up to 128 KB. */
const maxShownLength = 500;

/** Loads one object after the other: a Worker has little memory. */
export async function loadR2Events(
  { messages }: EventBatch,
  app: Pick<OpenedApp, "layout" | "config" | "copyTargets">,
  report: Report,
): Promise<void> {
  for (const message of messages) {
    const object = writtenObject(message.body);
    if (object === undefined) report(notice("info", `nothing to load: ${textOf(message.body)}`));
    const failure = object && (await loadWritten(app, object, report));
    if (failure === undefined) message.ack();
    else message.retry();
  }
}

/** The object that an event says was written: `{"action":"PutObject","object":{"key","size","eTag"},…}`. */
function writtenObject(event: unknown): WrittenObject | undefined {
  const { action, object } = isJsonObject(event) ? event : {};
  if (typeof action !== "string" || !/^(?:PutObject|CopyObject|CompleteMultipartUpload)$/.test(action))
    return undefined;
  const { key, eTag } = isJsonObject(object) ? object : {};
  return typeof key === "string" && typeof eTag === "string" ? { key, etag: eTag } : undefined;
}

/** The start of a message, for the log. A queue carries any value of any producer, also `undefined`. */
function textOf(event: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(event);
  } catch {
    // a `bigint`, or an object that holds itself
  }
  return printable((text ?? `a message of type ${typeof event}`).slice(0, maxShownLength));
}
