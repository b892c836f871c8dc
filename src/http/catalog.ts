/** What is there: tags of a repository, and repositories (distribution specification, "Listing Tags"; "_catalog"). */
import type { Context } from "hono";
import { StowageError, quote } from "../errors.ts";
import { pageOfRepositories } from "../pull/list-repositories.ts";
import { readRepository } from "../pull/read-repository.ts";
import { tagOf } from "../oci/repository-index.ts";
import { callerName, mayReach } from "./authentication.ts";
import { nextLink } from "./next-link.ts";
import { type Route, route } from "./route.ts";
import type { Service } from "./service.ts";

/**
 * Names on a page, also where more are asked for: clients read no more than 4 MiB of an answer, and a name has 255 bytes at
 * most.
 */
const maxPageNames = 10_000;

export function catalogRoutes({ store, budget }: Service): Route[] {
  return [
    route({
      methods: ["GET"],
      path: "/v2/_catalog",
      needs: "pull",
      query: ["n", "last"],
      async answer(c) {
        const { limit, after } = pageOf(c);
        const isWanted = (name: string): boolean => mayReach(c, "pull", name);
        const { signal } = c.req.raw;
        const names = await pageOfRepositories(store, { limit: limit + 1, after, isWanted, signal });
        return answerPage(c, names, { limit, body: (repositories) => ({ repositories }) });
      },
    }),
    route({
      methods: ["GET"],
      path: "/v2/<name>/tags/list",
      needs: "pull",
      query: ["n", "last"],
      async answer(c, { name }) {
        const { limit, after } = pageOf(c);
        const { entries } = await readRepository(store, name, {
          budget,
          caller: callerName(c),
          signal: c.req.raw.signal,
        });
        const names = entries.flatMap((entry) => tagOf(entry) ?? []);
        const rest = after === undefined ? names : names.filter((tag) => tag > after);
        return answerPage(c, rest.toSorted(), { limit, body: (tags) => ({ name, tags }) });
      },
    }),
  ];
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

interface Answer extends Pick<Page, "limit"> {
  readonly body: (names: readonly string[]) => object;
}

/** Answers with the first of the names, and a Link to the next page if there are more. */
function answerPage(c: Context, names: readonly string[], { limit, body }: Answer): Response {
  const shown = names.slice(0, limit);
  const last = shown.at(-1);
  const hasMore = last !== undefined && shown.length < names.length;
  return c.json(body(shown), 200, hasMore ? nextLink(c, { n: String(limit), last }) : undefined);
}

function parseCount(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new StowageError("INPUT_INVALID", `Cannot use ${quote(text, 100)} as n: expected a whole number`);
}
