/** `GET /metrics`: the metrics of the service, for Prometheus. */
import type { Context } from "hono";
import { type Route, route } from "./route.ts";

/** The metrics of a platform. They are made of events (`events.ts`) and of the lines in which requests wait. */
export interface Metrics {
  /** `token`: for callers with the action `metrics`. */
  readonly access: "token" | "public";
  /** All metrics in the format of Prometheus. */
  readonly expose: () => Promise<ExposedMetrics>;
  /** Reads these lines each time the metrics are asked for. */
  readonly watchLines: (lines: Readonly<Record<string, LineState>>) => void;
}

export interface ExposedMetrics {
  readonly contentType: string;
  readonly text: string;
}

/** Units that can be held, that are held, and that requests wait for. */
export interface LineState {
  readonly capacity: number;
  readonly held: number;
  readonly waiting: number;
}

/** Without metrics there is no route: an app around this one may have its own. */
export function metricsRoutes(metrics: Metrics | undefined): Route[] {
  if (metrics === undefined) return [];
  return [
    route({
      methods: ["GET"],
      path: "/metrics",
      needs: metrics.access === "public" ? "nothing" : "metrics",
      async answer(c: Context) {
        const { contentType, text } = await metrics.expose();
        return c.body(text, 200, { "Content-Type": contentType, "Cache-Control": "no-store" });
      },
    }),
  ];
}
