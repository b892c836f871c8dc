/** Reads the manifests of a closure from a store. */
import { headBlob, readSmallBlob } from "./blobs.ts";
import type { Layout } from "./layout.ts";
import type { ClosureReader } from "./list-closure.ts";
import { readManifest } from "./read-manifest.ts";

export interface ClosureReaderOptions {
  readonly caller?: string | undefined;
  readonly signal: AbortSignal;
  readonly referrersOf: ClosureReader["referrersOf"];
}

/** Reads at the caller's turn: an image with very many parts leaves room for other callers. */
export function closureReader(layout: Layout, { referrersOf, ...turn }: ClosureReaderOptions): ClosureReader {
  const { store, budget, limits } = layout;
  const { signal } = turn;
  return {
    readManifest: async (wanted) => {
      const found = await budget.ask(async () => readManifest(layout, wanted, turn), turn);
      return found?.manifest;
    },
    readConfig: async ({ digest }) => {
      const read = async (): ReturnType<typeof readSmallBlob> =>
        readSmallBlob(store, digest, { maxBytes: limits.maxManifestBytes, signal });
      return budget.ask(read, turn);
    },
    hasBlob: async (digest) => (await budget.ask(async () => headBlob(store, digest, { signal }), turn)) !== undefined,
    referrersOf,
  };
}
