/** The index of a repository, for whoever reads. */
import { StowageError } from "../errors.ts";
import { maxIndexBytes } from "../limits.ts";
import { type RepositoryIndex, parseRepositoryIndex } from "../oci/repository-index.ts";
import { indexKey } from "../storage/keys.ts";
import type { CallOptions, ObjectStore } from "../storage/object-store.ts";
import { readIfAllowed } from "../storage/read-small-object.ts";
import { type ByteBudget, freeJsonBytes } from "../streams/byte-budget.ts";
import { type Release, maxTurnWaitMs } from "../streams/line.ts";
import { SharedReads } from "./shared-reads.ts";

/** By store. A large index takes some 100 MiB while it is parsed: requests of one caller for one repository share it. */
const readsOf = new WeakMap<ObjectStore, SharedReads<RepositoryIndex>>();

export interface ReadRepositoryOptions extends CallOptions {
  /** The memory in which large indexes are parsed. Without it, they are parsed at once. */
  readonly budget?: ByteBudget | undefined;
  /** Whom that memory is held for. */
  readonly caller?: string | undefined;
}

/** Throws `NAME_UNKNOWN` if there is no such repository, and `TOOMANYREQUESTS` if no memory was to be had. */
export async function readRepository(
  store: ObjectStore,
  repository: string,
  { signal, ...options }: ReadRepositoryOptions = {},
): Promise<RepositoryIndex> {
  const reads = readsOf.get(store) ?? new SharedReads();
  readsOf.set(store, reads);
  const key = `${repository} ${options.caller}`; // no caller waits for another's turn
  return reads.read(key, async () => readIndex(store, repository, options), signal);
}

async function readIndex(
  store: ObjectStore,
  repository: string,
  { budget, caller }: Omit<ReadRepositoryOptions, "signal">,
): Promise<RepositoryIndex> {
  const key = indexKey(repository);
  let release: Release | undefined;
  let heldBytes = budget === undefined ? maxIndexBytes : freeJsonBytes;
  const tryHold = (size: number): boolean => {
    if (size <= heldBytes) return true;
    release?.();
    release = budget?.tryTakeJson(size, { caller });
    heldBytes = release === undefined ? freeJsonBytes : size;
    return release !== undefined;
  };
  try {
    for (;;) {
      const found = await readIfAllowed(store, key, { maxBytes: maxIndexBytes, mayRead: tryHold });
      if (found === undefined) throw unknownName(repository);
      if (found.bytes !== undefined) return parseRepositoryIndex(found.bytes, key);
      // No connection to the store is held while this waits: the index is asked for again.
      const signal = AbortSignal.any([]); // the read is shared: nobody's signal ends it
      release = await budget?.takeJson(found.size, { caller, signal, maxWaitMs: maxTurnWaitMs });
      heldBytes = found.size;
    }
  } finally {
    release?.();
  }
}

function unknownName(repository: string): StowageError {
  return new StowageError("NAME_UNKNOWN", `Cannot find repository "${repository}"`, { detail: { name: repository } });
}
