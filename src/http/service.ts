/** What all groups of routes are given. */
import type { Context } from "hono";
import type { Limits } from "../limits.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import type { ByteBudget } from "../streams/byte-budget.ts";

/** What the routes need, with every choice made. */
export interface Service {
  readonly store: ObjectStore;
  readonly limits: Limits;
  readonly budget: ByteBudget;
  readonly bodyOf: (c: Context) => AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal | undefined;
  readonly log: (line: string) => void;
}
