/** `/`: the repositories that the caller may pull, page by page, or those whose name contains a text. */
import type { Context } from "hono";
import type { Child } from "hono/jsx";
import { StowageError } from "../errors.ts";
import { formatCount } from "../format-bytes.ts";
import { authorize, isAllowed, requesterOf, waiterOf } from "../http/authentication.ts";
import { type ListedRepository, pageOfRepositories } from "../layout/list-repositories.ts";
import { concurrently } from "../streams/concurrently.ts";
import { type ListedImages, listImages } from "./list-images.ts";
import { sendPage } from "./frame.tsx";
import { LoadCommand, Pager, RepositoryName, SearchForm, When, withQuery } from "./parts.tsx";
import { type PageService, type View, baseOf, repositoryUrl } from "./view.ts";

/** Repositories on a page. The index of each is read. */
const pageLength = 50;

/** A longer index is not read for this page. It has some 500 tags. */
const maxIndexBytes = 256 * 1024;

const maxConcurrentReads = 8;

export async function showRepositories(c: Context, pages: PageService): Promise<Response> {
  // A token that may only load has nothing to see here.
  if (!isAllowed(c, "pull", undefined) && isAllowed(c, "load", undefined))
    return c.redirect(`${baseOf(c)}/-/upload`, 303);
  authorize(c, "pull");
  const query = c.req.query("q")?.trim().slice(0, 255) ?? "";
  const after = c.req.query("after");
  const { layout, catalogs } = pages;
  const found = await pages.line.inTurn(waiterOf(c), async () => {
    const isWanted = (name: string): boolean => isAllowed(c, "pull", name) && name.includes(query.toLowerCase());
    const listing = await catalogs.inTurn(waiterOf(c), async () =>
      pageOfRepositories(layout, { limit: pageLength + 1, after, isWanted }, requesterOf(c)),
    );
    return readRows(c, pages, listing);
  });
  const rows = found.slice(0, pageLength);
  const last = found.length > pageLength ? rows.at(-1)?.name : undefined;
  const isAll = after === undefined && last === undefined;
  return sendPage(c, pages, {
    title: "Stowage",
    current: "repositories",
    body: (view) => (
      <>
        <div class="heading">
          <h1>Repositories {isAll && rows.length > 0 && <small>{rows.length}</small>}</h1>
          {(rows.length > 0 || query !== "") && (
            <SearchForm action={`${view.base}/`} label="Find a repository" query={query} />
          )}
        </div>
        {rows.length === 0 ? (
          <Nothing view={view} query={query} isFirst={after === undefined} />
        ) : (
          <ul class="rows">
            {rows.map((row) => (
              <RepositoryRow view={view} row={row} now={layout.clock.now()} />
            ))}
          </ul>
        )}
        <Pager
          first={after === undefined ? undefined : withQuery(`${view.base}/`, { q: query })}
          next={last && withQuery(`${view.base}/`, { q: query, after: last })}
        />
      </>
    ),
  });
}

interface Row {
  readonly name: string;
  /** Undefined if the index is large or cannot be read. */
  readonly images: ListedImages | undefined;
}

async function readRows(c: Context, pages: PageService, found: readonly ListedRepository[]): Promise<readonly Row[]> {
  const rows: Row[] = found.map(({ name }) => ({ name, images: undefined }));
  await concurrently(found.slice(0, pageLength).entries(), maxConcurrentReads, async ([i, { name, size }]) => {
    if (size > maxIndexBytes) return;
    rows[i] = { name, images: await listIfPossible(c, pages, name) };
  });
  return rows;
}

/** A damaged index does not take the other repositories off the page. */
async function listIfPossible(c: Context, pages: PageService, name: string): Promise<ListedImages | undefined> {
  try {
    return await listImages(pages.layout, name, requesterOf(c));
  } catch (error) {
    if (error instanceof StowageError && (error.code === "STORE_DAMAGED" || error.code === "NAME_UNKNOWN"))
      return undefined;
    throw error;
  }
}

function RepositoryRow({ view, row, now }: { readonly view: View; readonly row: Row; readonly now: number }): Child {
  const { name, images } = row;
  return (
    <li>
      <a class="name" href={repositoryUrl(view, name)}>
        <RepositoryName name={name} />
      </a>
      <span class="meta">
        <span>{images === undefined ? "many images" : countOf(images)}</span>
        {images?.changed !== undefined && <When ms={images.changed} now={now} />}
      </span>
    </li>
  );
}

function countOf({ tags, images }: ListedImages): string {
  if (images.length === 0) return "no images";
  return tags === 0 ? `${formatCount(images.length, "image")} without a tag` : formatCount(tags, "tag");
}

interface NothingProps {
  readonly view: View;
  readonly query: string;
  readonly isFirst: boolean;
}

function Nothing({ view, query, isFirst }: NothingProps): Child {
  if (query !== "" || !isFirst)
    return (
      <div class="empty">
        <p>{query === "" ? "No more repositories." : `No repository has “${query}” in its name.`}</p>
        <a class="button" href={`${view.base}/`}>
          Show all
        </a>
      </div>
    );
  return (
    <div class="empty">
      <p>{view.mayLogIn ? "Nothing is public here. Log in to see more." : "There is nothing here yet."}</p>
      {view.mayLogIn && (
        <a class="button primary" href={`${view.base}/-/login`}>
          Log in
        </a>
      )}
      {view.mayLoad && (
        <>
          <a class="button primary" href={`${view.base}/-/upload`}>
            Upload a tarball
          </a>
          <p>or pipe one in from a terminal:</p>
          <LoadCommand view={view} />
        </>
      )}
    </div>
  );
}
