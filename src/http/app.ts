/**
 * The service as a Hono app, which runs on any platform and can be mounted in somebody's own. Every group of routes has
 * a file of its own beside this one.
 */
import { type Context, Hono } from "hono";
import { StowageError } from "../errors.ts";
import { type Limits, defaultLimits } from "../limits.ts";
import { guardStore } from "../storage/guard-store.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { ByteBudget } from "../streams/byte-budget.ts";
import { readableToBytes } from "../streams/readable-stream.ts";
import { blobRoutes } from "./blobs.ts";
import { catalogRoutes } from "./catalog.ts";
import { errorResponse } from "./error-response.ts";
import { loadRoutes } from "./load.ts";
import { manifestRoutes } from "./manifests.ts";
import type { Service } from "./service.ts";

export interface AppOptions {
  readonly store: ObjectStore;
  readonly limits?: Limits | undefined;
  /** The fastest source of a request's body that the platform has; without it the body's web stream is read. */
  readonly bodyOf?: ((c: Context) => AsyncIterable<Uint8Array>) | undefined;
  /** Ends the loads that run, when the service has to stop. */
  readonly signal?: AbortSignal | undefined;
  /** Told a line about each load and each failure of the service. */
  readonly log?: ((line: string) => void) | undefined;
}

/** Makes the app: loading under `/v1`, the OCI distribution specification under `/v2`. */
export function createApp(options: AppOptions): Hono {
  const limits = options.limits ?? defaultLimits;
  const service: Service = {
    store: guardStore(options.store),
    limits,
    budget: new ByteBudget(limits.maxBufferBytes),
    bodyOf: options.bodyOf ?? webBodyOf,
    signal: options.signal,
    log: options.log ?? (() => undefined),
  };
  const app = new Hono();
  app.get("/healthz", (c) => c.text("ok\n"));
  app.get("/v2/", (c) => c.json({}, 200, { "Docker-Distribution-Api-Version": "registry/2.0" }));
  app.route("/v1", loadRoutes(service));
  app.route("/v2", catalogRoutes(service));
  app.route("/v2", manifestRoutes(service));
  app.route("/v2", blobRoutes(service));
  app.notFound((c) => {
    const message = `Cannot ${c.req.method} ${c.req.path}: there is no such route`;
    return errorResponse(new StowageError("UNSUPPORTED", message), { status: 404 });
  });
  app.onError((error, c) => {
    const response = errorResponse(error);
    if (response.status >= 500) service.log(`${c.req.method} ${c.req.path} ${response.status}: ${describe(error)}`);
    return response;
  });
  return app;
}

function webBodyOf(c: Context): AsyncIterable<Uint8Array> {
  return readableToBytes(c.req.raw.body);
}

/** For the log: our own errors say all; others are bugs, and their stack is wanted. */
function describe(error: Error): string {
  return error instanceof StowageError ? `${error.code}: ${error.message}` : (error.stack ?? error.message);
}
