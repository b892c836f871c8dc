/** `/-/repository/<name>`: the images of a repository, the latest first. */
import type { Context } from "hono";
import type { Child } from "hono/jsx";
import { isDigest } from "../digest.ts";
import { formatBytes, formatCount } from "../format-bytes.ts";
import { requesterOf, waiterOf } from "../http/authentication.ts";
import { readCount } from "../http/request-url.ts";
import { LayoutSource } from "../layout/layout-source.ts";
import { type ImageDetails, describeImage, isDamage, readIfValid } from "../registry/describe-image.ts";
import { concurrently } from "../streams/concurrently.ts";
import { type ListedImage, listImages } from "./list-images.ts";
import { sendPage } from "./frame.tsx";
import { Crumbs, ForeignText, Pager, RepositoryName, SearchForm, When, shortReference, withQuery } from "./parts.tsx";
import { type PageService, type View, imageUrl, repositoryUrl } from "./view.ts";

/** Images on a page. The manifest of each is read, and those of its platforms. */
const pageLength = 25;

/** Platforms of an image whose sizes are read. */
const maxParts = 8;

/** A larger config is not read. */
const maxConfigBytes = 256 * 1024;

const maxConcurrentReads = 4;

export async function showRepository(c: Context, pages: PageService, name: string): Promise<Response> {
  const query = c.req.query("q")?.trim().slice(0, 128) ?? "";
  const from = readCount(c, "from") ?? 0;
  const deleted = c.req.query("deleted");
  const { rows, found, tags } = await pages.line.inTurn(waiterOf(c), async () => {
    const listed = await listImages(pages.layout, name, requesterOf(c));
    const matching = query === "" ? listed.images : listed.images.filter(({ reference }) => reference.includes(query));
    const shown = matching.slice(from, from + pageLength);
    return { rows: await readRows(c, pages, name, shown), found: matching.length, tags: listed.tags };
  });
  return sendPage(c, pages, {
    title: name,
    current: "repositories",
    body: (view) => {
      const url = repositoryUrl(view, name);
      const next = from + pageLength < found ? { q: query, from: String(from + pageLength) } : undefined;
      return (
        <>
          {deleted !== undefined && (
            <p class="notice" role="status">
              Deleted <ForeignText text={deleted} most={200} />. Its bytes stay until the next garbage collection.
            </p>
          )}
          <Crumbs view={view} />
          <div class="heading">
            <h1>
              <RepositoryName name={name} /> <small>{formatCount(tags, "tag")}</small>
            </h1>
            {(tags > pageLength || query !== "") && <SearchForm action={url} label="Find a tag" query={query} />}
          </div>
          {rows.length === 0 ? (
            <div class="empty">
              <p>{query === "" ? "There are no images here." : `No tag has “${query}” in its name.`}</p>
              {query !== "" && (
                <a class="button" href={url}>
                  Show all
                </a>
              )}
            </div>
          ) : (
            <ul class="rows images">
              {rows.map((row) => (
                <ImageRow view={view} name={name} row={row} now={pages.layout.clock.now()} />
              ))}
            </ul>
          )}
          <Pager first={from === 0 ? undefined : withQuery(url, { q: query })} next={next && withQuery(url, next)} />
        </>
      );
    },
  });
}

interface Row extends ListedImage {
  /** Undefined if the manifest cannot be read. */
  readonly details: ImageDetails | undefined;
}

async function readRows(
  c: Context,
  { layout }: PageService,
  name: string,
  images: readonly ListedImage[],
): Promise<readonly Row[]> {
  const { caller, signal } = requesterOf(c);
  const place = { source: new LayoutSource(layout, { caller }), signal };
  const rows: Row[] = images.map((image) => ({ ...image, details: undefined }));
  await concurrently(images.entries(), maxConcurrentReads, async ([i, image]) => {
    try {
      const manifest = await readIfValid(place, name, image.digest);
      if (manifest === undefined) return;
      const options = { maxParts, maxConfigBytes, readsPartConfigs: false };
      rows[i] = { ...image, details: await describeImage(place, name, manifest, options) };
    } catch (error) {
      if (!isDamage(error)) throw error; // one damaged image does not take the others off the page
    }
  });
  return rows;
}

interface ImageRowProps {
  readonly view: View;
  readonly name: string;
  readonly row: Row;
  readonly now: number;
}

function ImageRow({ view, name, row, now }: ImageRowProps): Child {
  const { reference, details, changed, ends } = row;
  return (
    <li>
      <span>
        <a class={isDigest(reference) ? "name digest" : "name"} href={imageUrl(view, name, reference)}>
          {shortReference(reference)}
        </a>{" "}
        {ends !== undefined && (
          <span class={ends > now ? "chip" : "chip over"}>
            {ends > now ? "ends" : "ended"} <When ms={ends} now={now} />
          </span>
        )}
      </span>
      <span class="meta">
        {details === undefined ? <span>cannot be read</span> : <Platforms platforms={details.platforms} />}
        {details !== undefined && <span class="size">{pullSizeOf(details)}</span>}
        {changed !== undefined && <When ms={changed} now={now} />}
      </span>
    </li>
  );
}

/** Platforms that are named. Of more, the number is shown. */
const maxNamed = 3;

function Platforms({ platforms }: { readonly platforms: readonly string[] }): Child {
  const named = platforms.slice(0, maxNamed).map((platform) => (
    <span class="chip">
      <ForeignText text={platform} most={40} />
    </span>
  ));
  const more = platforms.length - named.length;
  return (
    <span class="platforms">
      {named}
      {more > 0 && <span class="chip">{more} more</span>}
    </span>
  );
}

/** What a pull fetches. `35.0 MiB – 37.2 MiB` if that depends on the platform. */
export function pullSizeOf({ totalSize, manifests }: ImageDetails): string {
  const sizes = (manifests ?? []).filter(({ platforms }) => platforms.length > 0).map((part) => part.totalSize);
  if (sizes.length === 0) return formatBytes(totalSize);
  const [least, most] = [formatBytes(Math.min(...sizes)), formatBytes(Math.max(...sizes))];
  return least === most ? least : `${least} – ${most}`;
}
