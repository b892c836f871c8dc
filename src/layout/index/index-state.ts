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

/** An index remembers this many commits. A writer without an answer finds its own among them, if no more have followed. */
export const maxCommits = 32;

/** What a commit starts from. */
export interface IndexState {
  readonly index: RepositoryIndex;
  /** Undefined where there is no index yet. */
  readonly etag: string | undefined;
  /** Its bytes in the store, 0 where there is no index yet. */
  readonly size: number;
}

/** `conflict`: another state lies there. */
export type WriteAnswer = "written" | "conflict" | Unanswered;

/** Reads the index of a repository. `memory` is for a large one: the caller gives it back once it is done with the index. */
export async function readIndex(store: StoreReader, repository: string, memory?: Memory): Promise<IndexState> {
  const key = indexKey(repository);
  const found = await readSmallObject(store, key, { maxBytes: maxIndexBytes, memory });
  if (found === undefined) return { index: emptyIndex, etag: undefined, size: 0 };
  return { index: parseRepositoryIndex(found.bytes, key), etag: found.etag, size: found.bytes.length };
}

export interface ReadTurn extends Omit<TakeOptions, "signal"> {
  readonly signal?: AbortSignal | undefined;
  /** The memory in which large indexes are parsed. Without it, they are parsed at once. */
  readonly budget?: ByteBudget | undefined;
}

/** Reads the index of a repository at the caller's turn, for one look at it. Throws `TOOMANYREQUESTS`. */
export async function readIndexInTurn(
  store: StoreReader,
  repository: string,
  { budget, signal = AbortSignal.any([]), ...turn }: ReadTurn,
): Promise<IndexState> {
  const memory = budget?.jsonMemory({ ...turn, signal });
  try {
    return await readIndex(store, repository, memory);
  } finally {
    memory?.release();
  }
}

export interface WriteIndexOptions {
  readonly store: ObjectStore;
  readonly repository: string;
  /** Where the index is to be moved from. */
  readonly state: IndexState;
  /** That of the commit. */
  readonly id: string;
}

/**
 * Writes `index` as the next state after `state`, if that is still there. Throws what a store surely has refused, what
 * `checkFormat` does, and `LIMIT_EXCEEDED` rather than write what nobody could read: outcomes that wait for many large
 * intents' writers take room.
 */
export async function writeIndex(
  index: RepositoryIndex,
  { store, repository, state, id }: WriteIndexOptions,
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
  // Once: a writer that is told of a conflict, and has sent nothing before, then knows that nothing of it was done. If a proxy
  // sends again by itself, `commits` tells as long as it remembers.
  const answer = await store.put(indexKey(repository), bytes, { condition, once: true });
  return answer !== "conflict" && "etag" in answer ? "written" : answer;
}

function tooLarge(repository: string, found: number): StowageError {
  const message = `Cannot publish in "${repository}": its index would have ${found} bytes, at most ${maxIndexBytes} can be read`;
  return new StowageError("LIMIT_EXCEEDED", message, { detail: { name: repository, found, expected: maxIndexBytes } });
}

/** Makes the repository an image layout of its own, before it has an index. */
async function writeLayoutFile(store: ObjectStore, repository: string): Promise<PutResult> {
  const bytes = new TextEncoder().encode(ociLayoutJson);
  return store.put(repositoryLayoutKey(repository), bytes, { condition: "absent" });
}
