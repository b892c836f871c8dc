/** The index of a repository as a commit reads it, and the conditional write that moves it on. */
import { StowageError } from "../../errors.ts";
import { maxIndexBytes } from "../../limits.ts";
import { ociLayoutJson } from "../../oci/manifest.ts";
import type { ObjectStore, PutResult, StoreReader, Unanswered } from "../../storage/object-store.ts";
import { type Memory, readSmallObject } from "../../storage/read-small-object.ts";
import type { ByteBudget, TakeOptions } from "../../streams/byte-budget.ts";
import { indexKey, repositoryLayoutKey } from "../keys.ts";
import {
  type RepositoryIndex,
  checkFormat,
  emptyIndex,
  parseRepositoryIndex,
  serializeRepositoryIndex,
} from "./repository-index.ts";

/**
 * An index remembers this many of its latest commits. A writer that got no answer looks for its own commit among them.
 */
export const maxCommits = 32;

/** What a commit starts from. */
export interface IndexState {
  readonly index: RepositoryIndex;
  /** Undefined if there is no index yet. */
  readonly etag: string | undefined;
  /** Length in bytes in the store, 0 if there is no index yet. */
  readonly size: number;
}

/** `conflict`: the store has another state. */
type WriteAnswer = "written" | "conflict" | Unanswered;

/**
 * Reads the index of a repository. A large index takes `memory`. The caller releases it when it no longer needs the
 * index.
 */
export async function readIndex(store: StoreReader, repository: string, memory?: Memory): Promise<IndexState> {
  const key = indexKey(repository);
  const found = await readSmallObject(store, key, { maxBytes: maxIndexBytes, memory });
  if (found === undefined) return { index: emptyIndex, etag: undefined, size: 0 };
  return { index: parseRepositoryIndex(found.bytes, key), etag: found.etag, size: found.bytes.length };
}

type IndexRead = TakeOptions & {
  /** The memory for parsing large indexes. Without a budget, a read does not wait for memory. */
  readonly budget?: ByteBudget | undefined;
};

/**
 * Reads the index of a repository at the caller's turn. The memory is released before the index is returned. Throws
 * `TOOMANYREQUESTS`.
 */
export async function readIndexInTurn(
  store: StoreReader,
  repository: string,
  { budget, ...options }: IndexRead,
): Promise<IndexState> {
  const memory = budget?.parseMemory(options);
  try {
    return await readIndex(store, repository, memory);
  } finally {
    memory?.release();
  }
}

interface IndexWrite {
  readonly store: ObjectStore;
  readonly repository: string;
  /** The state that the write replaces. */
  readonly state: IndexState;
  /** The id of the commit. */
  readonly id: string;
}

/**
 * Writes `index` as the next state after `state`, if the store still has `state`. Throws the error of a store that
 * refuses the write, and the errors of `checkFormat`. Throws `LIMIT_EXCEEDED` for an index that would be too large to
 * read: the outcomes of many large intents take room.
 */
export async function writeIndex(
  index: RepositoryIndex,
  { store, repository, state, id }: IndexWrite,
): Promise<WriteAnswer> {
  checkFormat(state.index, repository);
  const bytes = serializeRepositoryIndex({
    ...index,
    generation: state.index.generation + 1,
    history: { ...index.history, id: index.history.id || id },
    commits: [...state.index.commits, id].slice(-maxCommits),
  });
  if (bytes.length > maxIndexBytes) throw tooLarge(repository, bytes.length);
  const condition = state.etag === undefined ? "absent" : { etag: state.etag };
  const layout = state.etag === undefined ? await writeLayoutFile(store, repository) : undefined;
  if (typeof layout === "object" && "unanswered" in layout) return layout;
  // Sent once: if the first write of a commit gets a conflict, the writer knows that its changes were not made. If a
  // proxy repeats the request, the writer finds its id in `commits`, unless too many commits have followed.
  const answer = await store.put(indexKey(repository), bytes, { condition, once: true });
  return answer !== "conflict" && "etag" in answer ? "written" : answer;
}

function tooLarge(repository: string, found: number): StowageError {
  const message = `Cannot publish in "${repository}": its index would have ${found} bytes, at most ${maxIndexBytes} can be read`;
  return new StowageError("LIMIT_EXCEEDED", message, { detail: { name: repository, found, expected: maxIndexBytes } });
}

/** Writes the repository's `oci-layout` before its first index: each repository is an image layout of its own. */
async function writeLayoutFile(store: ObjectStore, repository: string): Promise<PutResult> {
  const bytes = new TextEncoder().encode(ociLayoutJson);
  return store.put(repositoryLayoutKey(repository), bytes, { condition: "absent" });
}
