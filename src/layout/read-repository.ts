/** The index of a repository, as all readers see it. */
import { StowageError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Requester } from "../streams/byte-budget.ts";
import { maxTurnWaitMs } from "../streams/line.ts";
import { readIndexInTurn } from "./index/index-state.ts";
import type { RepositoryIndex } from "./index/repository-index.ts";
import type { Layout } from "./layout.ts";

export { changeTimeOf, stampTextOf } from "./index/change-history.ts";
export { type RepositoryIndex, checkFormat } from "./index/repository-index.ts";

/**
 * Reads the index of a repository. Requests of one caller for the same index share one read. Throws `NAME_UNKNOWN` if
 * there is no such repository, and `TOOMANYREQUESTS` if memory does not become free in time.
 */
export async function readRepository(
  { store, budget, indexReads }: Layout,
  repository: string,
  { caller, signal }: Requester = {},
): Promise<RepositoryIndex> {
  const key = `${repository} ${caller}`; // the caller is in the key, so that no caller waits for another caller's turn
  const read = async (): Promise<RepositoryIndex> => {
    // No signal: several requests share the read, and none of them may end it.
    const { index, etag } = await readIndexInTurn(store, repository, { budget, caller, maxWaitMs: maxTurnWaitMs });
    if (etag === undefined) throw unknownName(repository);
    return index;
  };
  return indexReads.resultOf(key, read, signal);
}

/** The entries of a repository's index. A repository that does not exist has none. */
export async function readEntries(
  layout: Layout,
  repository: string,
  requester: Requester,
): Promise<readonly Descriptor[]> {
  try {
    return (await readRepository(layout, repository, requester)).entries;
  } catch (error) {
    if (error instanceof StowageError && error.code === "NAME_UNKNOWN") return [];
    throw error;
  }
}

function unknownName(repository: string): StowageError {
  return new StowageError("NAME_UNKNOWN", `Cannot find repository "${repository}"`, { detail: { name: repository } });
}
