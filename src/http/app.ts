/**
 * The service as a Hono app, which runs on any platform and can be mounted in somebody's own. Every group of routes has
 * a file of its own beside this one.
 */
import { type Context, Hono } from "hono";
import type { Access } from "../auth/access.ts";
import { StowageError } from "../errors.ts";
import type { Layout } from "../layout/layout.ts";
import type { TagPattern } from "../oci/tag-pattern.ts";
import { Line } from "../streams/line.ts";
import { readableToBytes } from "../streams/readable-stream.ts";
import type { SilenceLimits } from "../streams/silence.ts";
import { WatchedSource } from "../streams/watched-source.ts";
import { Answers } from "./answers.ts";
import { authenticate, authorizeAnything, isAnonymous } from "./authentication.ts";
import { blobRoutes } from "./blobs.ts";
import { catalogRoutes } from "./catalog.ts";
import { errorResponse, withoutStore } from "./error-response.ts";
import { loadRoutes } from "./load.ts";
import { manifestRoutes } from "./manifests.ts";
import { missingRoutes } from "./missing.ts";
import { readyRoute } from "./readiness.ts";
import { referrerRoutes } from "./referrers.ts";
import { refuseCrossSite, refuseOtherHosts } from "./refuse-pages.ts";
import { reportRequests } from "./report-requests.ts";
import { pathOf } from "./request-url.ts";
import { type Route, route } from "./route.ts";
import { methodNotAllowed, serveRoutes } from "./serve-routes.ts";
import type { Service } from "./service.ts";
import { uploadRoutes } from "./uploads.ts";

/** What the app is made of. Only the layout, and who may do what, have to be said. */
export interface AppOptions {
  /** The store, opened. Other work on the same store, such as `loadArchive`, shares it. */
  readonly layout: Layout;
  /** Who may do what. `anyone` has to be said: nobody is let in by accident. */
  readonly access: Access;
  /** Bytes of a request's body that the platform lets through, where it cuts longer ones off; they come in parts. */
  readonly maxRequestBytes?: number | undefined;
  /** Bytes of an answer that the platform lets through; for a larger blob clients are sent to the bucket. */
  readonly maxResponseBytes?: number | undefined;
  /** Sends whoever pulls a blob to the bucket itself, where the store has addresses of its own. */
  readonly redirectBlobs?: boolean | undefined;
  /** Tags that may be made, and then never move and are never removed: `[{ repository: "team/**", tag: "v*" }]`. */
  readonly immutableTags?: readonly TagPattern[] | undefined;
  /**
   * The fastest source of a request's body that the platform has; without it the body's web stream is read. Nothing is read
   * before the first chunk is asked for: by then the request is known to be one that is taken.
   */
  readonly bodyOf?: ((c: Context) => AsyncIterable<Uint8Array>) | undefined;
  /** The names under which clients may ask for the service, see `refuse-other-hosts.ts`. Without them it is not looked at. */
  readonly hosts?: readonly string[] | undefined;
  /** Closes a client's connection at once. Without it the answer to a client that reads too slowly ends with an error. */
  readonly hangUp?: ((c: Context) => void) | undefined;
  /** Ends the loads that run, when the service has to stop. */
  readonly signal?: AbortSignal | undefined;
  /** Told a line about each load and deletion, each request that is refused, and each failure of the service. */
  readonly log?: ((line: string) => void) | undefined;
  /** Tells `log` of each pull as well. */
  readonly logPulls?: boolean | undefined;
}

/**
 * Makes the app: loading under `/v1`, the OCI distribution specification under `/v2`, `/healthz` and `/readyz`. Serve its
 * `fetch`, ask it by `request` without any network, or mount it: `own.route("/images", createApp(…))`. Errors of its routes
 * it answers itself, as the specification wants them; what is not its own stays the outer app's. Hono's `mount` hides the
 * path that the app's own links need. Registry clients look for `/v2/` at the root of a host alone: for them,
 * `own.route("/", …)`.
 */
export function createApp(options: AppOptions): Hono {
  const { layout } = options;
  const { limits, budget } = layout;
  const bodyOf = options.bodyOf ?? webBodyOf;
  const loads = new Line({ capacity: limits.maxLoads, units: "loads", limit: "maxLoads" });
  const parts = new Line({ capacity: limits.maxLoads, units: "parts of uploads", limit: "maxLoads" });
  const silenceOf = (caller: string): SilenceLimits => ({
    maxIdleSeconds: limits.maxIdleSeconds,
    isCrowded: () => budget.isCrowded,
    isOverdrawn: () => [budget, loads, parts].some((line) => line.isOverdrawn(caller)),
  });
  const log = options.log ?? (() => undefined);
  const service: Service = {
    layout,
    loads,
    parts,
    answers: new Answers({ layout, hangUp: options.hangUp, log }),
    maxRequestBytes: options.maxRequestBytes,
    maxResponseBytes: options.maxResponseBytes,
    redirectBlobs: options.redirectBlobs ?? false,
    immutableTags: options.immutableTags ?? [],
    bodyOf: (c, caller) => new WatchedSource(bodyOf(c), silenceOf(caller)),
    signal: options.signal,
    log,
  };
  const app = new Hono();
  app.get("/healthz", (c) => c.text("ok\n")).all("/healthz", (c) => methodNotAllowed(c, ["GET"]));
  app.get("/readyz", readyRoute(service)).all("/readyz", (c) => methodNotAllowed(c, ["GET"]));
  // Not everywhere: mounted at the root of another app it would ask whoever wants that app's own routes as well.
  const paths = ["/v1/*", "/v2/*"];
  app.on("ALL", paths, reportRequests({ ...service, logPulls: options.logPulls ?? false }));
  if (options.hosts !== undefined) app.on("ALL", paths, refuseOtherHosts(options.hosts));
  app.on("ALL", paths, refuseCrossSite, authenticate(options.access));
  serveRoutes(app, routesOf(service));
  app.notFound((c) => {
    if (/^\/v[12]\//.test(c.req.path)) authorizeAnything(c);
    const message = `Cannot ${c.req.method} ${pathOf(c)}: there is no such route`;
    return errorResponse(new StowageError("UNSUPPORTED", message), { status: 404 });
  });
  // `reportRequests` tells the log all of it.
  app.onError((error, c) => errorResponse(isAnonymous(c) ? withoutStore(error) : error));
  return app;
}

/** Every route that asks who comes. Each file has those of one kind. */
export function routesOf(service: Service): readonly Route[] {
  return [
    versionRoute,
    ...loadRoutes(service),
    ...missingRoutes(service),
    ...uploadRoutes(service),
    ...catalogRoutes(service),
    ...manifestRoutes(service),
    ...blobRoutes(service),
    ...referrerRoutes(service),
    ...pushRoutes,
  ];
}

/** Clients look here for a registry, and try out a password. */
const versionRoute = route({
  methods: ["GET"],
  path: "/v2/",
  needs: "anything",
  answer: (c) => c.json({}, 200, { "Docker-Distribution-Api-Version": "registry/2.0" }),
});

/** Paths of a push (distribution specification, "Pushing Blobs"). They have no method yet, and say what to do instead. */
const pushRoutes: readonly Route[] = ["/v2/<name>/blobs/uploads/", "/v2/<name>/blobs/uploads/<id>"].map((path) =>
  route({ methods: [], path, needs: "load", answer: noAnswer }),
);

function noAnswer(): never {
  throw new TypeError("expected no request: the path has no method");
}

function webBodyOf(c: Context): AsyncIterable<Uint8Array> {
  return readableToBytes(c.req.raw.body);
}
