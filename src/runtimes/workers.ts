/** The service on Cloudflare Workers. Settings are the Worker's variables and secrets; a bucket of R2 is a binding. */
import { messageOf, StowageError } from "../errors.ts";
import { errorResponse } from "../http/error-response.ts";
import { type OpenedApp, openApp } from "../open-app.ts";
import type { Settings } from "../settings/settings.ts";
import { byteStreamToBytes } from "../streams/readable-stream.ts";
import { type EventBatch, loadR2Events } from "./r2-events.ts";

/** Whoever is not on the plan of an enterprise may send bodies of so many bytes. */
const maxRequestBytes = 100_000_000;

/**
 * The isolate has 128 MB for everything; what is taken from the budget is in memory up to twice, and each load takes some
 * beside it.
 */
const defaults: Settings = {
  STOWAGE_MAX_BUFFER_BYTES: "40MiB",
  STOWAGE_MAX_LOADS: "8",
  STOWAGE_MAX_LOAD_SECONDS: "900",
};

/** Of a large blob so many parts are on their way to S3 at once: elsewhere four, which here would fill the memory. */
const queueSize = 2;

/** What a Worker is given to say how long it goes on. */
interface ExecutionContext {
  waitUntil(work: Promise<unknown>): void;
}

/** Cloudflare says where a Worker is reached, and when one ends. */
const ignores = ["HOST", "PORT", "STOWAGE_STOP_SECONDS", "STOWAGE_CHECK_STORE"];

const log = (line: string): void => console.log(line);

let opened: Promise<OpenedApp> | undefined;

export default {
  async fetch(request: Request, settings: Settings, context: ExecutionContext): Promise<Response> {
    const answer = respond(request, settings);
    context.waitUntil(answer); // whoever hangs up must not end it before it has cleaned up
    return withLength(await answer, context);
  },

  /** Takes the events of a bucket: what is put under `incoming/` is loaded. */
  async queue(batch: EventBatch, settings: Settings): Promise<void> {
    await loadR2Events(batch, { ...(await open(settings)), log });
  },
};

async function respond(request: Request, settings: Settings): Promise<Response> {
  const service = await open(settings).catch(() => undefined);
  if (service !== undefined) return service.app.fetch(request);
  const message = "Cannot serve: the settings of the service cannot be used; its log says why";
  return errorResponse(new StowageError("INPUT_INVALID", message), { status: 503 });
}

/** What workerd has for a body of known length: it sends any other in chunks, whatever the headers say. */
declare const FixedLengthStream: new (bytes: number) => TransformStream<Uint8Array, Uint8Array>;

function withLength(response: Response, context: ExecutionContext): Response {
  const length = response.headers.get("Content-Length");
  if (length === null || response.body === null) return response;
  const { readable, writable } = new FixedLengthStream(Number(length));
  context.waitUntil(response.body.pipeTo(writable).catch(() => undefined)); // whoever hung up has no use for the rest
  return new Response(readable, response);
}

/** Once for the isolate; settings that cannot be used are looked at again by the next request, and logged each time. */
async function open(settings: Settings): Promise<OpenedApp> {
  opened ??= openApp(
    { ...defaults, ...settings },
    { isReachable: true, ignores, maxRequestBytes, queueSize, bodyOf: (c) => byteStreamToBytes(c.req.raw.body), log },
  );
  try {
    return await opened;
  } catch (error) {
    opened = undefined;
    log(messageOf(error));
    throw error;
  }
}
