/**
 * The metrics of the service for Prometheus, on Node, Deno and Bun. They are made of events. No label has a value that
 * a client chooses: no repository, no tag, and of a signed token only its issuer.
 */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from "prom-client";
import type { CopyEvent, RequestEvent, StowageEvent } from "../events.ts";
import type { LineState, Metrics } from "../http/metrics-routes.ts";
import type { Observer } from "../open-app.ts";
import type { StoreCall } from "../storage/counting-store.ts";

export function openMetrics(access: Metrics["access"]): Metrics & Observer {
  const register = new Registry();
  collectDefaultMetrics({ register });
  const counters = makeCounters(register);
  const { commits, commitTries, storeRequests, storeFailures, storeSeconds } = counters;
  return {
    access,
    report: (event) => count(event, counters),
    onStoreCall({ operation, requests, ms, hasFailed }: StoreCall) {
      storeRequests.inc({ operation }, requests);
      storeSeconds.observe({ operation }, ms / 1000);
      if (hasFailed) storeFailures.inc({ operation });
    },
    onCommit(tries) {
      commits.inc();
      commitTries.inc(tries);
    },
    watchLines: (lines) => watchLines(lines, register),
    expose: async () => ({ contentType: register.contentType, text: await register.metrics() }),
  };
}

/** From 5 ms, for what the memory answers, to 10 minutes, for the load of a large image. */
const requestBuckets = [0.005, 0.025, 0.1, 0.5, 1, 5, 30, 120, 600];
/** From 1 ms, for a directory, to a minute, for an upload in parts. */
const storeBuckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60];

/** The metrics that events and calls change, with the names of their labels. */
interface Counters {
  readonly requests: Counter<"method" | "route" | "status">;
  readonly requestSeconds: Histogram<"method" | "route">;
  readonly requestBytes: Counter<"route" | "direction">;
  readonly unread: Counter<"code">;
  readonly operations: Counter<"operation" | "result" | "code">;
  readonly callerRequests: Counter<"caller" | "result" | "code">;
  readonly callerBytes: Counter<"caller" | "direction">;
  readonly callerStored: Counter<"caller">;
  readonly loadBytes: Counter<"outcome">;
  readonly copiedImages: Counter<"target" | "result">;
  readonly copiedBytes: Counter<"target">;
  readonly gcBlobs: Counter<"outcome">;
  readonly gcBytes: Counter<"outcome">;
  readonly commits: Counter<never>;
  readonly commitTries: Counter<never>;
  readonly storeRequests: Counter<"operation">;
  readonly storeFailures: Counter<"operation">;
  readonly storeSeconds: Histogram<"operation">;
}

function makeCounters(register: Registry): Counters {
  const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[]): Counter<Label> =>
    new Counter({ name: `stowage_${name}_total`, help, labelNames: [...labelNames], registers: [register] });
  const histogram = <Label extends string>(
    name: string,
    help: string,
    { labelNames, buckets }: { readonly labelNames: readonly Label[]; readonly buckets: number[] },
  ): Histogram<Label> =>
    new Histogram({ name: `stowage_${name}`, help, labelNames: [...labelNames], buckets, registers: [register] });
  return {
    requests: counter("requests", "Requests by route and status.", ["method", "route", "status"]),
    requestSeconds: histogram("request_duration_seconds", "Time from a request to the end of its answer.", {
      labelNames: ["method", "route"],
      buckets: requestBuckets,
    }),
    requestBytes: counter("request_bytes", "Bytes of bodies of requests (in) and of answers (out).", [
      "route",
      "direction",
    ]),
    unread: counter("unread_requests", "Requests that were refused before they were read.", ["code"]),
    operations: counter("operations", "Loads, pushes, pulls, exports, copies and deletions by their result.", [
      "operation",
      "result",
      "code",
    ]),
    callerRequests: counter("caller_requests", "Requests by token, or by issuer of tokens.", [
      "caller",
      "result",
      "code",
    ]),
    callerBytes: counter("caller_bytes", "Bytes of bodies by token, or by issuer of tokens.", ["caller", "direction"]),
    callerStored: counter(
      "caller_stored_bytes",
      "Bytes that loads have added to the store, and that pushes have brought.",
      ["caller"],
    ),
    loadBytes: counter("load_bytes", "Bytes of tarballs (received) and of their blobs by outcome.", ["outcome"]),
    copiedImages: counter("copied_images", "Images by target, and result of their copy.", ["target", "result"]),
    copiedBytes: counter("copied_bytes", "Bytes that were copied, by target.", ["target"]),
    gcBlobs: counter("gc_blobs", "Blobs by what gc did with them.", ["outcome"]),
    gcBytes: counter("gc_bytes", "Bytes of blobs by what gc did with them.", ["outcome"]),
    commits: counter("commits", "Changes of an index that were written, or have failed to be.", []),
    commitTries: counter("commit_rounds", "Tries to write an index. More than commits if writers race.", []),
    storeRequests: counter("store_requests", "Requests to the store, each part of an upload too.", ["operation"]),
    storeFailures: counter("store_failures", "Calls that the store has refused or not answered.", ["operation"]),
    storeSeconds: histogram("store_request_duration_seconds", "Time of a call to the store.", {
      labelNames: ["operation"],
      buckets: storeBuckets,
    }),
  };
}

function count(event: StowageEvent, counters: Counters): void {
  switch (event.event) {
    case "request":
      countRequest(event, counters);
      return;
    case "load":
      for (const [outcome, bytes] of Object.entries(event.bytes)) counters.loadBytes.inc({ outcome }, bytes);
      if (event.caller === undefined) return;
      counters.callerStored.inc({ caller: callerLabel(event.caller) }, event.bytes.written + event.bytes.repaired);
      return;
    case "copy":
      countCopy(event, counters);
      return;
    case "gc":
      for (const [outcome, { blobs, bytes }] of Object.entries(event.amounts)) {
        counters.gcBlobs.inc({ outcome }, blobs);
        counters.gcBytes.inc({ outcome }, bytes);
      }
      return;
    case "unread":
      counters.unread.inc({ code: event.code ?? "none" });
      return;
    case "push":
    case "delete":
    case "flood":
    case "start":
    case "warning":
    case "notice": // the log alone has these
  }
}

function countRequest(request: RequestEvent, counters: Counters): void {
  const { caller: name, outcome: result, code = "none", status, bytesIn, bytesOut, ms } = request;
  const [method, route, caller] = [methodLabel(request.method), request.route ?? "none", callerLabel(name)];
  counters.requests.inc({ method, route, status: String(status) });
  counters.requestSeconds.observe({ method, route }, ms / 1000);
  for (const [direction, bytes] of [["in", bytesIn] as const, ["out", bytesOut] as const]) {
    if (bytes === 0) continue;
    counters.requestBytes.inc({ route, direction }, bytes);
    counters.callerBytes.inc({ caller, direction }, bytes);
  }
  counters.callerRequests.inc({ caller, result, code });
  const operation = operations.get(`${request.method} ${request.route}`);
  if (operation !== undefined) counters.operations.inc({ operation, result, code });
  if (result === "ok" && bytesIn > 0 && route.startsWith("/v2/")) counters.callerStored.inc({ caller }, bytesIn);
}

/** A pull is counted by its manifest, a push too. The requests of their blobs are counted by their routes. */
const operations: ReadonlyMap<string, string> = new Map([
  ...["/v1/load", "/v1/load/", "/v1/load/<image>"].flatMap((path) => [
    [`PUT ${path}`, "load"] as const,
    [`POST ${path}`, "load"] as const,
  ]),
  ["POST /v1/uploads/<id>/load", "load"],
  ["POST /v1/uploads/<id>/load/", "load"],
  ["POST /v1/uploads/<id>/load/<image>", "load"],
  ["GET /v2/<name>/manifests/<reference>", "pull"],
  ["PUT /v2/<name>/manifests/<reference>", "push"],
  ["DELETE /v2/<name>/manifests/<reference>", "delete"],
  ["GET /v1/export/<image>", "export"],
  ["POST /v1/copy", "copy"],
]);

function countCopy({ targets }: CopyEvent, { copiedImages, copiedBytes }: Counters): void {
  for (const { target, images, bytes = 0, failures } of targets) {
    copiedImages.inc({ target, result: "ok" }, images);
    copiedImages.inc({ target, result: "failed" }, failures.length);
    copiedBytes.inc({ target }, bytes);
  }
}

const knownMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"]);

function methodLabel(method: string): string {
  return knownMethods.has(method) ? method : "other";
}

/** The operator chooses the names of tokens, and the issuers. Others choose the subjects of signed tokens. */
function callerLabel(caller: string): string {
  return caller.replace(/#.*$/s, "");
}

function watchLines(lines: Readonly<Record<string, LineState>>, register: Registry): void {
  const gauge = (name: keyof LineState, help: string): void => {
    const made: Gauge<"line"> = new Gauge({
      name: `stowage_line_${name}`,
      help: `${help} Units are bytes in the line for memory, else loads, parts, answers and so on.`,
      labelNames: ["line"],
      registers: [register],
      collect() {
        for (const [line, state] of Object.entries(lines)) made.set({ line }, state[name]);
      },
    });
  };
  gauge("capacity", "Units that may be held at once.");
  gauge("held", "Units that are held.");
  gauge("waiting", "Units that requests wait for.");
}
