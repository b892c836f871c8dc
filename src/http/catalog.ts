/** What is there: tags of a repository, and repositories (distribution specification, "Listing Tags"; "_catalog"). */
import type { Context } from "hono";
import { quote, StowageError } from "../errors.ts";
import { pageOfRepositories } from "../layout/list-repositories.ts";
import { type RepositoryIndex, readRepository } from "../layout/read-repository.ts";
import { tagOf } from "../oci/index-entry.ts";
import { Line, maxTurnWaitMs } from "../streams/line.ts";
import type { TextAnswer } from "./answers.ts";
import { mayReach, turnOf } from "./authentication.ts";
import { nextLink } from "./request-url.ts";
import { type Route, route } from "./route.ts";
import type { Service } from "./service.ts";

/**
 * Names on a page, also where more are asked for: clients read no more than 4 MiB of an answer, and a name has 255 bytes at
 * most.
 */
const maxPageNames = 10_000;

/**
 * Pages of repositories that are put together at once. Each goes through all of them, and a directory holds their names
 * meanwhile: some MiB for 20,000.
 */
const maxCatalogs = 4;
/** Requests of one caller that wait to do so. They have no body. */
const maxWaiters = 2048;

export function catalogRoutes({ layout, answers }: Service): Route[] {
  const sortedTags = tagSorter();
  const catalogs = new Line({ capacity: maxCatalogs, units: "catalogs", limit: "maxCatalogs", maxWaiters });
  return [
    route({
      methods: ["GET"],
      path: "/v2/_catalog",
      needs: "pull",
      query: ["n", "last"],
      async answer(c) {
        const { limit, after } = pageOf(c);
        const isWanted = (name: string): boolean => mayReach(c, "pull", name);
        return answers.sendText(c, async () => {
          const endTurn = await catalogs.acquire(1, { ...turnOf(c), maxWaitMs: maxTurnWaitMs });
          const page = pageOfRepositories(layout, { limit: limit + 1, after, isWanted }, turnOf(c));
          const names = await page.finally(endTurn);
          return pageText(c, names, { limit, body: (repositories) => ({ repositories }) });
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
          const names = sortedTags(await readRepository(layout, name, turnOf(c)));
          const rest = after === undefined ? names : names.filter((tag) => tag > after);
          return pageText(c, rest, { limit, body: (tags) => ({ name, tags }) });
        });
      },
    }),
  ];
}

/** Sorts the tags of an index once for all requests that share it: of a crowd, each would take some 10 ms for 10,000 tags. */
function tagSorter(): (index: RepositoryIndex) => readonly string[] {
  const known = new WeakMap<RepositoryIndex, readonly string[]>();
  return (index) => {
    const tags = known.get(index) ?? index.entries.flatMap((entry) => tagOf(entry) ?? []).toSorted();
    known.set(index, tags);
    return tags;
  };
}

interface Page {
  /** How many names are on it at most. */
  readonly limit: number;
  /** The name that comes before all of them. */
  readonly after: string | undefined;
}

function pageOf(c: Context): Page {
  const n = c.req.query("n");
  return { limit: n === undefined ? maxPageNames : Math.min(parseCount(n), maxPageNames), after: c.req.query("last") };
}

/** Quotes and comma of a name, which is ASCII. */
const separatorBytes = 3;
/** What is around the names, the repository's own name included. */
const maxFrameBytes = 512;

interface Shown extends Pick<Page, "limit"> {
  readonly body: (names: readonly string[]) => object;
}

/** The first of the names, and a Link to the next page if there are more. */
function pageText(c: Context, names: readonly string[], { limit, body }: Shown): TextAnswer {
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

function parseCount(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new StowageError("INPUT_INVALID", `Cannot use ${quote(text, 100)} as n: expected a whole number`);
}
