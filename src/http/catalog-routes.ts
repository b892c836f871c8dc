/** Lists of tags and of repositories (distribution specification, "Listing Tags"; `_catalog`). */
import type { Context } from "hono";
import { pageOfRepositories } from "../layout/list-repositories.ts";
import { type RepositoryIndex, readRepository } from "../layout/read-repository.ts";
import { tagOf } from "../oci/index-entry.ts";
import type { TextAnswer } from "./answers.ts";
import { isAllowed, requesterOf, waiterOf } from "./authentication.ts";
import { nextLink, readCount } from "./request-url.ts";
import { type Route, route } from "./route.ts";
import type { Service } from "./service.ts";

/**
 * The largest number of names on a page. Clients read no more than 4 MiB of an answer, and a name has up to 255 bytes.
 */
const maxPageNames = 10_000;

export function catalogRoutes({ layout, answers, catalogs }: Service): Route[] {
  const sortedTags = tagSorter();
  return [
    route({
      methods: ["GET"],
      path: "/v2/_catalog",
      needs: "pull",
      query: ["n", "last"],
      async answer(c) {
        const { limit, after } = pageOf(c);
        const isWanted = (name: string): boolean => isAllowed(c, "pull", name);
        return answers.sendText(c, async () => {
          const page = await catalogs.inTurn(waiterOf(c), async () =>
            pageOfRepositories(layout, { limit: limit + 1, after, isWanted }, requesterOf(c)),
          );
          const names = page.map(({ name: repository }) => repository);
          return pageText(c, names, limit, (repositories) => ({ repositories }));
        });
      },
    }),
    route({
      methods: ["GET"],
      path: "/v2/<name>/tags/list",
      needs: "pull",
      query: ["n", "last"],
      async answer(c, { name }) {
        const { limit, after } = pageOf(c);
        return answers.sendText(c, async () => {
          const names = sortedTags(await readRepository(layout, name, requesterOf(c)));
          const rest = after === undefined ? names : names.filter((tag) => tag > after);
          return pageText(c, rest, limit, (tags) => ({ name, tags }));
        });
      },
    }),
  ];
}

/** Sorts the tags of an index once for all requests that share it. To sort 10,000 tags takes some 10 ms. */
function tagSorter(): (index: RepositoryIndex) => readonly string[] {
  const known = new WeakMap<RepositoryIndex, readonly string[]>();
  return (index) => {
    const tags = known.get(index) ?? index.entries.flatMap((entry) => tagOf(entry) ?? []).toSorted();
    known.set(index, tags);
    return tags;
  };
}

interface Page {
  readonly limit: number;
  /** The page holds names after this one. */
  readonly after: string | undefined;
}

function pageOf(c: Context): Page {
  return { limit: Math.min(readCount(c, "n") ?? maxPageNames, maxPageNames), after: c.req.query("last") };
}

/** The quotes and the comma of a name. */
const separatorBytes = 3;
/** The JSON around the names, and the repository's own name. */
const maxFrameBytes = 512;

/** The first `limit` names, and a Link to the next page if there are more. */
function pageText(
  c: Context,
  names: readonly string[],
  limit: number,
  body: (names: readonly string[]) => object,
): TextAnswer {
  const shown = names.slice(0, limit);
  const last = shown.at(-1);
  const hasMore = last !== undefined && shown.length < names.length;
  const link = hasMore ? nextLink(c, { n: String(limit), last }) : {};
  const maxBytes = shown.reduce((sum, name) => sum + name.length + separatorBytes, maxFrameBytes);
  return {
    maxBytes,
    text: () => JSON.stringify(body(shown)),
    headers: { "Content-Type": "application/json", ...link },
  };
}
