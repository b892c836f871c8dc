/** The objects and choices that all groups of routes share. */
import type { Context } from "hono";
import type { CopyTargets } from "../copy/copy-to-targets.ts";
import { StowageError } from "../errors.ts";
import type { Report } from "../events.ts";
import type { Layout } from "../layout/layout.ts";
import type { TagPattern } from "../oci/tag-pattern.ts";
import { withinSeconds } from "../streams/in-time.ts";
import type { Line } from "../streams/line.ts";
import type { WatchedSource } from "../streams/watched-source.ts";
import type { Answers } from "./answers.ts";
import type { CallerFinder } from "./authentication.ts";
import type { Metrics } from "./metrics-routes.ts";

/** The parts of the service. Each option has its value here. */
export interface Service {
  readonly layout: Layout;
  // The lines in which requests wait for a turn (`streams/line.ts`).
  /** One unit is one load. */
  readonly loads: Line;
  /** One unit is one part of an upload. */
  readonly parts: Line;
  /** One unit is one request that brings bytes of a pushed blob. */
  readonly pushes: Line;
  /** One unit is one copy to the targets. */
  readonly copies: Line;
  /** One unit is one page of repositories. */
  readonly catalogs: Line;
  readonly answers: Answers;
  /** Finds the caller with this secret of a token. Throws `UNAUTHORIZED` if there is no such token. */
  readonly findCaller: CallerFinder;
  /** The stores that images can be copied to, by name. */
  readonly copyTargets: CopyTargets;
  /** Loads copy their images to the targets with these names, if the request names no other. */
  readonly copyAfterLoad: readonly string[];
  /** Bytes of a request's body that the platform lets through. Undefined without a limit. */
  readonly maxRequestBytes: number | undefined;
  /** Bytes of an answer that the platform lets through. Undefined without a limit. */
  readonly maxResponseBytes: number | undefined;
  /** Are pulls of blobs redirected to the bucket, if the store has presigned URLs? */
  readonly redirectBlobs: boolean;
  /** Tags that never move and are never removed. */
  readonly immutableTags: readonly TagPattern[];
  /** Undefined if they are off, or the platform has none. */
  readonly metrics: Metrics | undefined;
  /**
   * The request's body. It ends with `TIMED_OUT` if the client is silent for too long. The limit is shorter while a
   * request waits for memory, and shorter still while `caller` holds more than its share.
   */
  readonly watchBody: (c: Context, caller: string) => WatchedSource;
  readonly signal: AbortSignal | undefined;
  readonly report: Report;
}

/**
 * Does work that reads a request's body, within the time of a load. The work's signal fires with `TIMED_OUT` when the
 * time is over. (The limit of silence is not enough: a client can send one byte now and then.) `what` names the work.
 */
export async function withinLoadSeconds<T>(
  what: string,
  { layout, signal }: Pick<Service, "layout" | "signal">,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { maxLoadSeconds } = layout.limits;
  return withinSeconds({ seconds: maxLoadSeconds, late: () => tooLate(what, maxLoadSeconds), signal }, work);
}

function tooLate(what: string, maxLoadSeconds: number): StowageError {
  return new StowageError(
    "TIMED_OUT",
    `Cannot finish ${what}: it took more than ${maxLoadSeconds} seconds, the longest time allowed (maxLoadSeconds)`,
    { detail: { limit: "maxLoadSeconds", expected: maxLoadSeconds } },
  );
}
