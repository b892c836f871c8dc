/**
 * The service as a Hono app. It runs on any platform and can be mounted in another app. Each group of routes has its
 * own file in this folder.
 */
import { type Context, Hono, type MiddlewareHandler } from "hono";
import type { AccessSource } from "../auth/access.ts";
import type { CopyTargets } from "../copy/copy-to-targets.ts";
import { StowageError } from "../errors.ts";
import type { Report } from "../events.ts";
import type { Layout } from "../layout/layout.ts";
import type { TagPattern } from "../oci/tag-pattern.ts";
import { Line } from "../streams/line.ts";
import { readableToBytes } from "../streams/readable-stream.ts";
import type { SilenceLimits } from "../streams/silence.ts";
import { WatchedSource } from "../streams/watched-source.ts";
import { Answers } from "./answers.ts";
import { authenticate, authenticateBrowser, authorizeAnything, callerFinder, isAnonymous } from "./authentication.ts";
import { blobRoutes } from "./blob-routes.ts";
import { catalogRoutes } from "./catalog-routes.ts";
import { copyRoutes } from "./copy-routes.ts";
import { challenge, errorResponse, withoutStore } from "./error-response.ts";
import { exportRoutes } from "./export-routes.ts";
import { loadRoutes } from "./load-routes.ts";
import { manifestRoutes } from "./manifest-routes.ts";
import { type Metrics, metricsRoutes } from "./metrics-routes.ts";
import { missingRoutes } from "./missing-routes.ts";
import { openApiRoute } from "./openapi/openapi-route.ts";
import { pushRoutes } from "./push-routes.ts";
import { readyRoute } from "./readiness.ts";
import { referrerRoutes } from "./referrer-routes.ts";
import { refuseCrossSite, refuseOtherHosts } from "./refuse-pages.ts";
import { type RunningRequests, type SentAnswer, reportRequests } from "./report-requests.ts";
import { RequestRecord } from "./request-record.ts";
import { pathOf } from "./request-url.ts";
import { type Route, route } from "./route.ts";
import { methodNotAllowed, serveRoutes } from "./serve-routes.ts";
import type { Service } from "./service.ts";
import { uploadRoutes } from "./upload-routes.ts";

/**
 * Copies to targets at the same time. Each keeps the index of a repository, which can take 100 MiB, while it is
 * planned.
 */
const maxCopies = 4;

/**
 * Pages of repositories that are made at the same time. Each page reads the names of all repositories. For 20,000
 * repositories, a directory holds some MiB of names.
 */
const maxCatalogs = 4;
/** Waiting requests of one caller for such a page. These requests have no body. */
const maxWaitingCatalogs = 2048;

/** Requests of one caller that wait for a turn to push. 64 machines with one token may push six blobs each at once. */
const maxWaitingPushes = 384;

/** The parts of the app. Only `layout` and `access` are required. */
export interface AppOptions {
  /** The opened store. Other work on the same store, such as `loadArchive`, should share it. */
  readonly layout: Layout;
  /**
   * The rights of callers, or a function that returns them for each request. Write `anyone` for an open service, so
   * that no service is open by accident.
   */
  readonly access: AccessSource;
  /**
   * Other stores that images can be copied to, by name. Open each with `layout.beside`, so that all stores share the
   * memory.
   */
  readonly copyTargets?: CopyTargets | undefined;
  /** Loads copy their images to the targets with these names, if the request names no other. */
  readonly copyAfterLoad?: readonly string[] | undefined;
  /** Bytes of a request's body that the platform lets through. Clients send longer ones in parts. */
  readonly maxRequestBytes?: number | undefined;
  /** Bytes of an answer that the platform lets through. Pulls of larger blobs are redirected to the bucket. */
  readonly maxResponseBytes?: number | undefined;
  /** Redirects pulls of blobs to the bucket, if the store has presigned URLs. */
  readonly redirectBlobs?: boolean | undefined;
  /** Tags that never move and are never removed once they exist: `[{ repository: "team/**", tag: "v*" }]`. */
  readonly immutableTags?: readonly TagPattern[] | undefined;
  /**
   * The platform's fastest source of a request's body. By default the body's web stream is read. The source must not
   * read before the first chunk is requested, because the request may be refused until then.
   */
  readonly bodyOf?: ((c: Context) => AsyncIterable<Uint8Array>) | undefined;
  /** The names of the service, see `refuse-pages.ts`. Without them, requests for any host are answered. */
  readonly hosts?: readonly string[] | undefined;
  /**
   * Closes a client's connection at once. Without it, the answer to a client that reads too slowly ends with an error.
   */
  readonly hangUp?: ((c: Context) => void) | undefined;
  /** Ends running loads when the service has to stop. */
  readonly signal?: AbortSignal | undefined;
  /** Gets an event for each request, load, push, deletion, copy and problem. `createLog` makes a log of them. */
  readonly report?: Report | undefined;
  /** The metrics that `/metrics` serves. */
  readonly metrics?: Metrics | undefined;
  /** The address at the other end of a request's connection. */
  readonly clientOf?: ((c: Context) => string | undefined) | undefined;
  /** Calls back when the answer to a request has ended, with the bytes of its body that were sent. */
  readonly watchAnswer?: ((c: Context, onEnd: (sent: SentAnswer) => void) => void) | undefined;
  /** Tells a store for which request it works. The service counts and traces its requests to the store by it. */
  readonly running?: RunningRequests | undefined;
}

/** Routes for browsers. They, and the routes below `/v1`, then accept a token in the cookie that the page has set. */
export interface Page {
  /** Patterns of the paths. */
  readonly paths: readonly string[];
  readonly routes: readonly Route[];
  /** Runs around each request for these paths, also if it is refused. */
  readonly around: MiddlewareHandler;
}

/**
 * Makes the app: loading and exporting under `/v1`, the OCI distribution specification under `/v2`, `/healthz` and
 * `/readyz`. Serve its `fetch`, call its `request` without a network, or mount it:
 * `own.route("/images", createApp(…))`. The app answers errors of its own routes only. Do not use Hono's `mount`: it
 * hides the path that links need. Registry clients look for `/v2/` only at the root of a host: for them, use
 * `own.route("/", …)`.
 */
export function createApp(options: AppOptions): Hono {
  return createAppWithPage(options, undefined);
}

/** As `createApp`, with the page for people at `/`. An app in another app has no page: `/` belongs to the other app. */
export function createAppWithPage(options: AppOptions, pageOf: ((service: Service) => Page) | undefined): Hono {
  const service = serviceOf(options);
  const { findCaller, report } = service;
  const app = new Hono();
  app.on("ALL", ["/healthz", "/readyz", "/openapi.json"], reportRequests({ ...options, report: problemsTo(report) }));
  app.get("/healthz", (c) => c.text("ok\n")).all("/healthz", (c) => methodNotAllowed(c, ["GET"]));
  app.get("/readyz", readyRoute(service)).all("/readyz", (c) => methodNotAllowed(c, ["GET"]));
  // The middleware is for these paths only. If this app is mounted at the root of another app, it must not ask for
  // tokens on the routes of the other app.
  const page = pageOf?.(service);
  const metricsPaths = options.metrics === undefined ? [] : ["/metrics"];
  const paths = ["/v1/*", "/v2/*", ...metricsPaths, ...(page?.paths ?? [])];
  if (page !== undefined) app.on("ALL", [...page.paths], page.around);
  app.on("ALL", paths, reportRequests({ ...options, report }));
  if (options.hosts !== undefined) app.on("ALL", paths, refuseOtherHosts(options.hosts));
  app.on("ALL", paths, refuseCrossSite);
  app.on("ALL", ["/v2/*", ...metricsPaths], authenticate(findCaller));
  app.on(
    "ALL",
    ["/v1/*", ...(page?.paths ?? [])],
    (page === undefined ? authenticate : authenticateBrowser)(findCaller),
  );
  const routes = routesOf(service);
  serveRoutes(app, [...routes, ...(page?.routes ?? [])]);
  app.get("/openapi.json", openApiRoute(routes)).all("/openapi.json", (c) => methodNotAllowed(c, ["GET"]));
  app.notFound((c) => {
    if (/^\/v[12]\//.test(c.req.path)) authorizeAnything(c);
    const message = `Cannot ${c.req.method} ${pathOf(c)}: there is no such route`;
    return errorResponse(new StowageError("UNSUPPORTED", message), { c, status: 404 });
  });
  // `reportRequests` logs the whole error.
  app.onError((error, c) => errorResponse(isAnonymous(c) ? withoutStore(error) : error, { c }));
  return app;
}

/** The objects that all routes share: the lines in which requests wait, and the parts of the app. */
function serviceOf(options: AppOptions): Service {
  const { layout } = options;
  const { limits, budget } = layout;
  const bodyOf = options.bodyOf ?? webBodyOf;
  const loads = new Line({ capacity: limits.maxLoads, units: "loads", limit: "maxLoads" });
  const parts = new Line({ capacity: limits.maxLoads, units: "parts of uploads", limit: "maxLoads" });
  const pushes = new Line({
    capacity: 2 * limits.maxLoads,
    units: "pushes",
    limit: "maxLoads",
    maxWaiters: maxWaitingPushes,
  });
  const silenceOf = (caller: string): SilenceLimits => ({
    maxIdleSeconds: limits.maxIdleSeconds,
    isCrowded: () => budget.isCrowded,
    isOverdrawn: () => [budget, loads, parts, pushes].some((line) => line.isOverdrawn(caller)),
  });
  const report = options.report ?? (() => undefined);
  const copies = new Line({ capacity: maxCopies, units: "copies", limit: "maxCopies" });
  const findCaller = callerFinder(options.access, { clock: layout.clock, report });
  const service: Service = {
    layout,
    loads,
    parts,
    pushes,
    copies,
    catalogs: new Line({
      capacity: maxCatalogs,
      units: "catalogs",
      limit: "maxCatalogs",
      maxWaiters: maxWaitingCatalogs,
    }),
    findCaller,
    answers: new Answers(layout, options.hangUp),
    copyTargets: options.copyTargets ?? new Map(),
    copyAfterLoad: options.copyAfterLoad ?? [],
    maxRequestBytes: options.maxRequestBytes,
    maxResponseBytes: options.maxResponseBytes,
    redirectBlobs: options.redirectBlobs ?? false,
    immutableTags: options.immutableTags ?? [],
    metrics: options.metrics,
    watchBody: (c, caller) => {
      const body = new WatchedSource(bodyOf(c), silenceOf(caller));
      const record = RequestRecord.of(c);
      if (record !== undefined) [record.body, record.owner] = [body, caller];
      return body;
    },
    signal: options.signal,
    report,
  };
  options.metrics?.watchLines({ loads, parts, pushes, copies, ...service.answers.lines, memory: budget.memory });
  return service;
}

/** All routes that need a known caller. */
export function routesOf(service: Service): readonly Route[] {
  return [
    versionRoute,
    ...loadRoutes(service),
    ...missingRoutes(service),
    ...uploadRoutes(service),
    ...exportRoutes(service),
    ...copyRoutes(service),
    ...catalogRoutes(service),
    ...manifestRoutes(service),
    ...blobRoutes(service),
    ...referrerRoutes(service),
    ...pushRoutes(service),
    ...metricsRoutes(service.metrics),
  ];
}

/** Clients look here for a registry, and try passwords. */
const versionRoute = route({
  methods: ["GET"],
  path: "/v2/",
  needs: "anything",
  answer: (c) => {
    // podman, Buildah and skopeo show their tokens only if this answer asks for them.
    const headers = { "Docker-Distribution-Api-Version": "registry/2.0", ...(isAnonymous(c) && challenge) };
    return c.json({}, 200, headers);
  },
});

/**
 * Load balancers ask the open routes every few seconds. So only refused and failed requests are reported. A 503 without
 * an error code is not reported: `readiness.ts` has logged that outage once.
 */
function problemsTo(report: Report): Report {
  return (event) => {
    if (event.event !== "request" || (event.outcome !== "refused" && event.outcome !== "failed")) return;
    if (event.status !== 503 || event.code !== undefined) report(event);
  };
}

function webBodyOf(c: Context): AsyncIterable<Uint8Array> {
  return readableToBytes(c.req.raw.body);
}
