/**
 * The service on AWS Lambda: one handler for the requests of a function URL (or an HTTP API, payload version 2) and for
 * the events of the bucket, whose tarballs under `incoming/` are loaded.
 */
import process from "node:process";
import { StowageError } from "../errors.ts";
import { isJsonObject } from "../oci/json.ts";
import { type OpenedApp, openApp } from "../open-app.ts";
import { answerHttpEvent, parseHttpEvent } from "./lambda-http.ts";
import { loadS3Events, writtenObjects } from "./s3-events.ts";

/** Lambda hands over a request, and takes an answer, as JSON of at most 6 MiB, the body in base64. */
const maxEventBytes = 6 * 1024 * 1024;
/** Kept free for the request's line and headers, some of which are there twice. */
const envelopeBytes = 64 * 1024;

const platform = {
  isReachable: true,
  ignores: ["HOST", "PORT", "STOWAGE_STOP_SECONDS", "STOWAGE_CHECK_STORE"],
  maxRequestBytes: bytesInBase64(maxEventBytes - envelopeBytes),
  maxResponseBytes: bytesInBase64(maxEventBytes),
  log: (line: string): void => void process.stdout.write(`${line}\n`),
};

/** What runs ends so long before Lambda would kill it, so that it can clean up. */
const cleanUpMs = 5000;

/** What Stowage uses of Lambda's own context. */
interface LambdaContext {
  getRemainingTimeInMillis(): number;
}

interface OpenedService extends OpenedApp {
  readonly ending: AbortController;
}

let opened: Promise<OpenedService> | undefined;

/** Throws for settings that cannot be used, and for a bucket's events that are worth another try: Lambda then tries again. */
export async function handler(event: unknown, context: LambdaContext): Promise<unknown> {
  const service = await (opened ??= open());
  const left = context.getRemainingTimeInMillis();
  const timer = setTimeout(() => end(service), Math.max(left - cleanUpMs, left / 2));
  try {
    const objects = writtenObjects(event);
    if (objects !== undefined) {
      await loadS3Events(objects, { ...service, signal: service.ending.signal, log: platform.log });
      return undefined;
    }
    const request = parseHttpEvent(event);
    if (request !== undefined) {
      // A signal of its own for each request: what listens to it goes with it.
      const signal = AbortSignal.any([service.ending.signal]);
      return await answerHttpEvent(request, { fetch: (asked) => service.app.fetch(asked), signal, log: platform.log });
    }
    // Its fields are named, not shown: the headers of a request hold secrets.
    const found = isJsonObject(event) ? Object.keys(event).join(", ") : typeof event;
    throw new TypeError(
      `Cannot take the event: expected a request of payload version 2, or S3's event, found ${found}`,
    );
  } finally {
    clearTimeout(timer);
  }
}

/** Once for each cold start, unless the settings cannot be used. */
async function open(): Promise<OpenedService> {
  const ending = new AbortController();
  try {
    return { ...(await openApp(process.env, { ...platform, signal: ending.signal })), ending };
  } catch (error) {
    opened = undefined;
    throw error;
  }
}

/** Its signal has fired for good: the next event finds another service. */
function end({ ending }: OpenedService): void {
  opened = undefined;
  ending.abort(new StowageError("INTERRUPTED", "Cannot finish: the function's time is over"));
}

function bytesInBase64(length: number): number {
  return Math.floor(length / 4) * 3;
}
