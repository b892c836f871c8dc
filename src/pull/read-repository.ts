/** The index of a repository, for whoever reads. */
import { readIndexInTurn } from "../commit/index-state.ts";
import { StowageError } from "../errors.ts";
import type { RepositoryIndex } from "../oci/repository-index.ts";
import type { CallOptions, ObjectStore } from "../storage/object-store.ts";
import type { ByteBudget } from "../streams/byte-budget.ts";
import { maxTurnWaitMs } from "../streams/line.ts";
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
  return reads.read(key, async () => readOnce(store, repository, options), signal);
}

async function readOnce(
  store: ObjectStore,
  repository: string,
  { budget, caller }: Omit<ReadRepositoryOptions, "signal">,
): Promise<RepositoryIndex> {
  // The read is shared: no request's signal ends it.
  const { index, etag } = await readIndexInTurn(store, repository, { budget, caller, maxWaitMs: maxTurnWaitMs });
  if (etag === undefined) throw unknownName(repository);
  return index;
}

function unknownName(repository: string): StowageError {
  return new StowageError("NAME_UNKNOWN", `Cannot find repository "${repository}"`, { detail: { name: repository } });
}
