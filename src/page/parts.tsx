/** Small parts that several pages have. */
import type { Child } from "hono/jsx";
import { hexOf, isDigest } from "../digest.ts";
import { printable } from "../errors.ts";
import { type View, repositoryUrl } from "./view.ts";

/** Text from an image, cut to a length. Invisible characters are shown as escapes, so that no text hides its meaning. */
export function ForeignText({ text, most = 2000 }: { readonly text: string; readonly most?: number }): Child {
  const shown = text.length <= most ? text : `${text.slice(0, most)}…`;
  return <bdi>{shown.split("\n").map(printable).join("\n")}</bdi>;
}

/** A tag, or the first digits of a digest. */
export function shortReference(reference: string): string {
  return isDigest(reference) ? hexOf(reference).slice(0, 12) : reference;
}

/** `2 hours ago`, with the whole date as its title. `now` and `ms` are milliseconds since 1970. */
export function When({ ms, now }: { readonly ms: number; readonly now: number }): Child {
  const date = new Date(ms).toISOString();
  return (
    <time datetime={date} title={`${date.slice(0, 10)} ${date.slice(11, 16)} UTC`}>
      {agoOf(now - ms, date)}
    </time>
  );
}

function agoOf(passedMs: number, date: string): string {
  const minutes = Math.floor(passedMs / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return count(minutes, "minute");
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return count(hours, "hour");
  const days = Math.floor(hours / 24);
  return days < 31 ? count(days, "day") : date.slice(0, 10);
}

function count(number: number, unit: string): string {
  return `${number} ${unit}${number === 1 ? "" : "s"} ago`;
}

/** The way back: to all images, and to the repository of an image. */
export function Crumbs({ view, repository }: { readonly view: View; readonly repository?: string }): Child {
  return (
    <nav class="crumbs" aria-label="Breadcrumb">
      <a href={`${view.base}/`}>Images</a>
      {repository !== undefined && <a href={repositoryUrl(view, repository)}>{repository}</a>}
    </nav>
  );
}

/** A text that a button copies, if scripts run. `label` says what is copied. */
export function Copyable({ text, label }: { readonly text: string; readonly label: string }): Child {
  return (
    <span class="copyable" data-copy={label}>
      <code>{text}</code>
    </span>
  );
}

/** The command that does what the upload does. */
export function loadCommand({ url, caller }: View): string {
  const token = caller === undefined ? "" : ' -H "Authorization: Bearer $TOKEN"';
  return `docker save team/app:1.4 | curl${token} -T - ${url}/v1/load`;
}

/** A search that works without scripts. */
export function SearchForm({ action, label, query }: SearchFormProps): Child {
  return (
    <form class="search" role="search" action={action}>
      <input type="search" name="q" value={query} aria-label={label} placeholder={label} autocomplete="off" />
      <button>Search</button>
    </form>
  );
}

interface SearchFormProps {
  readonly action: string;
  readonly label: string;
  readonly query: string;
}

/** Links to the first and to the next page of a list. Nothing if all is on one page. */
export function Pager({
  first,
  next,
}: {
  readonly first?: string | undefined;
  readonly next?: string | undefined;
}): Child {
  if (first === undefined && next === undefined) return null;
  return (
    <nav class="pager" aria-label="Pages">
      {first === undefined ? <span /> : <a href={first}>← First page</a>}
      {next !== undefined && <a href={next}>Next page →</a>}
    </nav>
  );
}

/** A URL with those parameters that have a value. */
export function withQuery(url: string, parameters: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(parameters).filter((entry): entry is [string, string] => (entry[1] ?? "") !== "");
  return given.length === 0 ? url : `${url}?${new URLSearchParams(given).toString()}`;
}
