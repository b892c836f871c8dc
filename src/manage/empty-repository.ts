/** Removes all images of a repository, by one commit. */
import { commitSet } from "../commit/commit-set.ts";
import { tagPatternsOf } from "../oci/tag-pattern.ts";
import { readRepository } from "../pull/read-repository.ts";
import type { DeleteOptions } from "./delete-image.ts";

/**
 * Takes out every image that the index has now, and returns how many there were. The index itself stays, empty: a load that
 * comes meanwhile finds it by compare and swap. Throws `NAME_UNKNOWN`, `TAG_IMMUTABLE`, and what `commitSet` throws.
 */
export async function emptyRepository(
  repository: string,
  { store, immutableTags = [], signal }: Pick<DeleteOptions, "store" | "immutableTags" | "signal">,
): Promise<number> {
  const { entries } = await readRepository(store, repository, { signal });
  const digests = [...new Set(entries.map(({ digest }) => digest))];
  const changes = digests.map((digest) => ({ op: "remove", digest }) as const);
  const set = { changes, immutableTags: tagPatternsOf(immutableTags, repository) };
  if (changes.length > 0) await commitSet(repository, set, { store });
  return digests.length;
}
