import type { Clock } from "../../src/clock.ts";
import { Layout } from "../../src/layout/layout.ts";
import type { Limits } from "../../src/limits.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";

/** Opens a store for one piece of work. */
export function openLayout(store: ObjectStore, limits?: Partial<Limits>, clock?: Clock): Layout {
  return Layout.open(store, { limits, clock });
}
