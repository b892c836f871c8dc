/** The service on Cloudflare Workers. Settings are the Worker's variables and secrets; a bucket of R2 is a binding. */
import { messageOf, StowageError } from "../errors.ts";
import { notice } from "../events.ts";
import { errorResponse } from "../http/error-response.ts";
import { createLog } from "../http/log.ts";
import { type OpenedApp, openApp } from "../open-app.ts";
import type { Settings } from "../settings/settings.ts";
import { byteStreamToBytes } from "../streams/readable-stream.ts";
import { type EventBatch, loadR2Events } from "./r2-events.ts";
import { triggerGc } from "./trigger-gc.ts";

/** Bytes of a request's body that Cloudflare lets through on all plans below Enterprise. */
const maxRequestBytes = 100_000_000;

/**
 * The isolate has 128 MB for everything. Bytes of the budget can be in memory twice, and each load takes more memory
 * besides.
 */
const defaults: Settings = {
  STOWAGE_MAX_BUFFER_BYTES: "40MiB",
  STOWAGE_MAX_LOADS: "8",
  STOWAGE_MAX_LOAD_SECONDS: "900",
};

/** Parts of one large blob that are in memory at once. Other platforms have as many as there is memory for. */
const maxParts = 4;

/**
 * As of November 2026, a Cron Trigger may run for 15 minutes and send 10,000 requests. The rest is for pages of
 * listings, which are not counted, for requests that are repeated, and for saving what the next slice needs.
 */
const gcSlice = { maxMs: 10 * 60_000, maxRequests: 7000 };

/** The part of a request's context that Stowage uses. */
interface ExecutionContext {
  waitUntil(work: Promise<unknown>): void;
}

/** Settings without effect: Cloudflare decides the address of a Worker, and its end. */
const ignores = ["HOST", "PORT", "STOWAGE_STOP_SECONDS", "STOWAGE_CHECK_STORE", "STOWAGE_METRICS"];

const write = (line: string): void => console.log(line);

let opened: Promise<OpenedApp> | undefined;

export default {
  async fetch(request: Request, settings: Settings, context: ExecutionContext): Promise<Response> {
    const answer = respond(request, settings);
    context.waitUntil(answer); // a client that hangs up must not end the Worker before its clean-up
    return withLength(await answer, context);
  },

  /** Collects garbage, one slice for each Cron Trigger. */
  async scheduled(_controller: unknown, settings: Settings): Promise<void> {
    const service = await open(settings);
    await triggerGc(service, gcSlice, service.report);
  },

  /** Takes the events of a bucket. */
  async queue(batch: EventBatch, settings: Settings): Promise<void> {
    const service = await open(settings);
    await loadR2Events(batch, service, service.report);
  },
};

async function respond(request: Request, settings: Settings): Promise<Response> {
  const service = await open(settings).catch(() => undefined);
  if (service !== undefined) return service.app.fetch(request);
  const message = "Cannot serve: the settings of the service cannot be used; its log says why";
  return errorResponse(new StowageError("INPUT_INVALID", message), { status: 503 });
}

/** A body of known length in workerd. Any other body goes out in chunks, even beside a Content-Length. */
declare const FixedLengthStream: new (bytes: number) => TransformStream<Uint8Array, Uint8Array>;

function withLength(response: Response, context: ExecutionContext): Response {
  const length = response.headers.get("Content-Length");
  if (length === null || response.body === null) return response;
  const { readable, writable } = new FixedLengthStream(Number(length));
  context.waitUntil(response.body.pipeTo(writable).catch(() => undefined)); // the client has hung up
  return new Response(readable, response);
}

/** Runs once for the isolate. If settings cannot be used, it logs them, and the next request tries again. */
async function open(settings: Settings): Promise<OpenedApp> {
  opened ??= openApp(
    { ...defaults, ...settings },
    {
      isReachable: true,
      ignores,
      maxRequestBytes,
      maxParts,
      hasProfiles: false,
      clientOf: (c) => c.req.header("CF-Connecting-IP"),
      bodyOf: (c) => byteStreamToBytes(c.req.raw.body),
      write,
    },
  );
  try {
    return await opened;
  } catch (error) {
    opened = undefined;
    createLog(write)(notice("error", messageOf(error)));
    throw error;
  }
}
