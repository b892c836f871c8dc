/** Removes all images of a repository, by one commit. */
import { commitSet } from "../layout/commit-set.ts";
import type { Layout } from "../layout/layout.ts";
import { readRepository } from "../layout/read-repository.ts";
import { tagPatternsOf } from "../oci/tag-pattern.ts";
import type { DeleteOptions } from "./delete-image.ts";

/**
 * Takes out every image that the index has now, and returns how many there were. The index itself stays, empty: a load that
 * comes meanwhile finds it by compare and swap. Throws `NAME_UNKNOWN`, `TAG_IMMUTABLE`, and what `commitSet` throws.
 */
export async function emptyRepository(
  layout: Layout,
  repository: string,
  { immutableTags = [], ...turn }: Omit<DeleteOptions, "expects"> = {},
): Promise<number> {
  const { entries } = await readRepository(layout, repository, turn);
  const digests = [...new Set(entries.map(({ digest }) => digest))];
  const changes = digests.map((digest) => ({ op: "remove", digest }) as const);
  const set = { repository, changes, immutableTags: tagPatternsOf(immutableTags, repository) };
  if (changes.length > 0) await commitSet(layout, set, turn);
  return digests.length;
}
