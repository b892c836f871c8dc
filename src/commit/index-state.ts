/** The index of a repository as a commit reads it, and the conditional write that moves it on. */
import { StowageError } from "../errors.ts";
import { maxIndexBytes } from "../limits.ts";
import {
  type RepositoryIndex,
  checkFormat,
  emptyIndex,
  ociLayoutJson,
  parseRepositoryIndex,
  serializeRepositoryIndex,
} from "../oci/repository-index.ts";
import { indexKey, repositoryLayoutKey } from "../storage/keys.ts";
import { isUnanswered } from "../storage/is-unanswered.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { readSmallObject } from "../storage/read-small-object.ts";

/** Of commits, so many are remembered: as many may pass while somebody looks for an answer that was lost. */
export const maxCommits = 32;

/** What a commit starts from. */
export interface IndexState {
  readonly index: RepositoryIndex;
  /** Undefined where there is no index yet. */
  readonly etag: string | undefined;
}

/** `conflict`: another state lies there. */
export type WriteAnswer = "written" | "conflict" | Doubt;

/** No answer came, but this: it may have been written, or may be yet. */
export interface Doubt {
  readonly error: unknown;
}

export async function readIndex(store: ObjectStore, repository: string): Promise<IndexState> {
  const key = indexKey(repository);
  const found = await readSmallObject(store, key, { maxBytes: maxIndexBytes });
  if (found === undefined) return { index: emptyIndex, etag: undefined };
  return { index: parseRepositoryIndex(found.bytes, key), etag: found.etag };
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
  try {
    if (state.etag === undefined) await writeLayoutFile(store, repository);
    // Once: whoever is told of a conflict, and has sent nothing before, then knows that nothing of it was done. Where a proxy
    // sends again by itself, `commits` tells as long as it remembers.
    const answer = await store.putIf(indexKey(repository), bytes, condition, { once: true });
    return answer === "conflict" ? "conflict" : "written";
  } catch (error) {
    if (!isUnanswered(error)) throw error;
    return { error };
  }
}

function tooLarge(repository: string, found: number): StowageError {
  const message = `Cannot publish in "${repository}": its index would have ${found} bytes, at most ${maxIndexBytes} can be read`;
  return new StowageError("LIMIT_EXCEEDED", message, { detail: { name: repository, found, expected: maxIndexBytes } });
}

/** Makes the repository an image layout of its own, before it has an index. */
async function writeLayoutFile(store: ObjectStore, repository: string): Promise<void> {
  await store.putIf(repositoryLayoutKey(repository), new TextEncoder().encode(ociLayoutJson), "absent");
}
