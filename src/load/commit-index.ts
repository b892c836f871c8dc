/**
 * Commit: the one step of a load that others can see. The repository's index is moved by compare and swap: read, merged,
 * and written only if nobody has moved it meanwhile; whoever loses merges again into what the winner wrote.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { StowageError } from "../errors.ts";
import { maxIndexBytes } from "../limits.ts";
import { type ChangeOutcome, type SetChange, mergeIndex } from "../oci/merge-index.ts";
import { emptyIndex, ociLayoutJson, parseRepositoryIndex, serializeRepositoryIndex } from "../oci/repository-index.ts";
import { indexKey, repositoryLayoutKey } from "../storage/keys.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { readSmallObject } from "../storage/read-small-object.ts";

/** Tries before a commit gives up. Waits grow to the longest, so this is about a minute. */
const maxAttempts = 60;
const shortestWaitMs = 20;
const longestWaitMs = 2000;

export interface CommitOptions {
  readonly store: ObjectStore;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Publishes all changes of one repository in one conditional write, or none if all are there already.
 * Throws `COMMIT_CONFLICT` if other writers were faster again and again.
 */
export async function commitIndex(
  repository: string,
  changes: readonly SetChange[],
  { store, signal }: CommitOptions,
): Promise<readonly ChangeOutcome[]> {
  const key = indexKey(repository);
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const found = await readSmallObject(store, key, { maxBytes: maxIndexBytes, signal });
    const before = found === undefined ? emptyIndex : parseRepositoryIndex(found.bytes, key);
    const { index, outcomes } = mergeIndex(before, changes);
    if (index === before) return outcomes;
    if (found === undefined) await writeLayoutFile(repository, { store, signal });
    const condition = found === undefined ? "absent" : { etag: found.etag };
    const bytes = serializeRepositoryIndex(index);
    if (bytes.length > maxIndexBytes) throw tooLarge(repository, bytes.length);
    // Without the signal: whoever ends a load must not be left in doubt whether it was published.
    const written = await store.putIf(key, bytes, condition);
    if (written !== "conflict") return outcomes;
    await sleep(jitteredWaitMs(attempt));
    signal?.throwIfAborted();
  }
  throw new StowageError(
    "COMMIT_CONFLICT",
    `Cannot publish in "${repository}": other writers moved its index ${maxAttempts} times meanwhile; try again`,
  );
}

function tooLarge(repository: string, found: number): StowageError {
  return new StowageError(
    "LIMIT_EXCEEDED",
    `Cannot publish in "${repository}": its index would have ${found} bytes, at most ${maxIndexBytes} are allowed`,
    { detail: { found, expected: maxIndexBytes } },
  );
}

/** Makes the repository an image layout of its own, before it has an index. */
async function writeLayoutFile(repository: string, { store, signal }: CommitOptions): Promise<void> {
  await store.putIf(repositoryLayoutKey(repository), new TextEncoder().encode(ociLayoutJson), "absent", { signal });
}

/** Somewhere between nothing and a limit that doubles: writers that met once should not meet again. */
function jitteredWaitMs(attempt: number): number {
  return Math.random() * Math.min(longestWaitMs, shortestWaitMs * 2 ** attempt);
}
