/**
 * `GET /readyz`: does the store answer? Anyone may ask, and load balancers ask every few seconds. So one check of the
 * store counts for all requests of the next seconds. Only the log has the error, because it can name the bucket.
 */
import type { Context } from "hono";
import { messageOf, StowageError } from "../errors.ts";
import { type Report, notice } from "../events.ts";
import { checkStore } from "../layout/check-store.ts";
import { SharedWork } from "../streams/batches.ts";
import { errorResponse } from "./error-response.ts";
import type { Service } from "./service.ts";

/** A check of the store counts for this long. */
const trustedMs = 5000;

/**
 * A request waits at most this long for the check of another request. A check takes less time
 * (`layout/check-store.ts`).
 */
const maxCheckMs = 15_000;

export function readyRoute({ layout, report }: Pick<Service, "layout" | "report">): (c: Context) => Promise<Response> {
  const readiness = new Readiness(() => checkStore(layout.store), report);
  return async (c) => {
    const headers = { "Cache-Control": "no-store" };
    if (await readiness.isReady()) return c.text("ready\n", 200, headers);
    const message = "Cannot serve: the store does not answer as it should; the service's log says why";
    return errorResponse(new StowageError("STORE_UNAVAILABLE", message), { c, headers });
  };
}

class Readiness {
  readonly #check: () => Promise<void>;
  readonly #report: Report;
  #known: { readonly problem: string | undefined; readonly atMs: number } | undefined;
  readonly #checks = new SharedWork<void>(maxCheckMs);

  constructor(check: () => Promise<void>, report: Report) {
    this.#check = check;
    this.#report = report;
  }

  async isReady(): Promise<boolean> {
    if (!this.#isTrusted()) {
      await this.#checks.resultOf("store", async () => (this.#isTrusted() ? undefined : this.#look()));
    }
    return this.#known?.problem === undefined;
  }

  /**
   * Does the last check still count? This uses the time of day, because other clocks stop in a frozen function. If the
   * clock was set back, the check does not count.
   */
  #isTrusted(): boolean {
    return this.#known !== undefined && Math.abs(Date.now() - this.#known.atMs) < trustedMs;
  }

  async #look(): Promise<void> {
    let problem: string | undefined;
    try {
      await this.#check();
    } catch (error) {
      problem = messageOf(error);
    }
    this.#learn(problem);
  }

  /** Logs only changes: many requests see the same outage. */
  #learn(problem: string | undefined): void {
    const former = this.#known?.problem;
    if (problem !== undefined && problem !== former) this.#report(notice("error", `not ready: ${problem}`));
    if (problem === undefined && former !== undefined) this.#report(notice("info", "ready again: the store answers"));
    this.#known = { problem, atMs: Date.now() };
  }
}
