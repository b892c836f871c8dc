/** What is there: tags of a repository, and repositories (distribution specification, "Listing Tags"; "_catalog"). */
import { type Context, Hono } from "hono";
import { parseRepositoryName } from "../oci/reference.ts";
import { StowageError } from "../errors.ts";
import { listRepositories } from "../pull/list-repositories.ts";
import { readRepository } from "../pull/read-repository.ts";
import { tagOf } from "../oci/repository-index.ts";
import { authorize, mayReach } from "./authentication.ts";
import type { Service } from "./service.ts";

export function catalogRoutes({ store }: Service): Hono {
  const routes = new Hono();
  routes.get("/_catalog", async (c) => {
    authorize(c, "pull");
    const repositories = await listRepositories(store, { signal: c.req.raw.signal });
    const reachable = repositories.filter((name) => mayReach(c, "pull", name));
    return page(c, reachable, (names) => ({ repositories: names }));
  });
  routes.get("/:name{.+}/tags/list", async (c) => {
    const name = parseRepositoryName(c.req.param("name"));
    authorize(c, "pull", name);
    const { entries } = await readRepository(store, name, { signal: c.req.raw.signal });
    const tags = entries.flatMap((entry) => tagOf(entry) ?? []);
    return page(c, tags.toSorted(), (names) => ({ name, tags: names }));
  });
  return routes;
}

/** Answers with at most `n` of the names, those after `last`, and a Link to the next page if there is one. */
function page(c: Context, names: readonly string[], body: (names: readonly string[]) => object): Response {
  const last = c.req.query("last");
  const n = parseCount(c.req.query("n"));
  const rest = last === undefined ? names : names.filter((name) => name > last);
  const shown = rest.slice(0, n);
  const lastShown = shown.at(-1);
  const path = new URL(c.req.url).pathname; // `c.req.path` is decoded, and an outer app may have put the host into it
  const link =
    lastShown !== undefined && shown.length < rest.length
      ? { Link: `<${path}?n=${n}&last=${encodeURIComponent(lastShown)}>; rel="next"` }
      : undefined;
  return c.json(body(shown), 200, link);
}

function parseCount(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new StowageError("INPUT_INVALID", `Cannot use ${JSON.stringify(text)} as n: expected a whole number`);
}
