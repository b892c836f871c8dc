/** The names of the repositories of a store. */
import { StowageError } from "../errors.ts";
import { defaultRepository } from "../oci/reference.ts";
import type { CallOptions } from "../storage/object-store.ts";
import type { Requester } from "../streams/byte-budget.ts";
import { mayBeEmpty } from "./index/repository-index.ts";
import { indexKey, repositoriesPrefix, repositoryOfIndexKey } from "./keys.ts";
import type { Layout } from "./layout.ts";
import { readRepository } from "./read-repository.ts";

/** Indexes that are read at the same time, to see whether they have entries. */
const maxConcurrentReads = 32;

/** All repositories, in the order of their names. */
export async function listRepositories(layout: Layout, options: CallOptions = {}): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of listIndexes(layout, options)) names.push(name);
  return names.toSorted();
}

interface WantedRepositories {
  /** The most names to return. */
  readonly limit: number;
  /** Only names that come after this name are returned. */
  readonly after?: string | undefined;
  /** May the caller see this repository? */
  readonly isWanted: (name: string) => boolean;
}

/** A repository, and the length of its index. */
export interface ListedRepository {
  readonly name: string;
  /** Bytes of the index. */
  readonly size: number;
}

/**
 * Returns the first repositories that have images, in the order of their names. Keeps at most twice `limit` of them in
 * memory.
 */
export async function pageOfRepositories(
  layout: Layout,
  { limit, after, isWanted }: WantedRepositories,
  requester: Requester,
): Promise<ListedRepository[]> {
  const firstOf = (found: readonly ListedRepository[]): ListedRepository[] =>
    found.toSorted((a, b) => (a.name < b.name ? -1 : 1)).slice(0, limit);
  let repositories: ListedRepository[] = [];
  const keep = (found: readonly ListedRepository[]): void => {
    repositories.push(...found);
    if (repositories.length > 2 * limit) repositories = firstOf(repositories);
  };
  let doubtful: ListedRepository[] = [];
  for await (const repository of listIndexes(layout, requester)) {
    const { name, size } = repository;
    if ((after !== undefined && name <= after) || !isWanted(name)) continue;
    if (mayBeEmpty(size)) doubtful.push(repository);
    else keep([repository]);
    if (doubtful.length < maxConcurrentReads) continue;
    keep(await withEntries(layout, doubtful, requester));
    doubtful = [];
  }
  keep(await withEntries(layout, doubtful, requester));
  return firstOf(repositories);
}

/**
 * Returns the repositories with entries. A repository whose index cannot be read counts too: its index may have
 * entries.
 */
async function withEntries(
  layout: Layout,
  repositories: readonly ListedRepository[],
  requester: Requester,
): Promise<ListedRepository[]> {
  const isEmpty = await Promise.all(
    repositories.map(async ({ name }) => {
      try {
        return (await readRepository(layout, name, requester)).entries.length === 0;
      } catch (error) {
        if (error instanceof StowageError && error.code === "STORE_DAMAGED") return false;
        throw error;
      }
    }),
  );
  return repositories.filter((_, i) => isEmpty[i] !== true);
}

/**
 * Yields indexes in the order of their keys, not of their names. Example: the name `a` comes before `a-b`, but the key
 * of `a-b` comes before the key of `a` (`a-b/_layout` and `a/_layout`).
 */
async function* listIndexes({ store }: Layout, options: CallOptions): AsyncGenerator<ListedRepository> {
  const own = await store.head(indexKey(defaultRepository), options);
  if (own !== undefined) yield { name: defaultRepository, size: own.size };
  for await (const { key, size } of store.list(repositoriesPrefix, options)) {
    const name = repositoryOfIndexKey(key);
    if (name !== undefined) yield { name, size };
  }
}
