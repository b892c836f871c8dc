/** Small parts that several pages have. */
import type { Child } from "hono/jsx";
import { hexOf, isDigest } from "../digest.ts";
import { printable } from "../errors.ts";
import { formatCount } from "../format-bytes.ts";
import { type View, repositoryUrl } from "./view.ts";

/**
 * Text from an image, cut to a length. Invisible characters are shown as escapes, so that no text hides its meaning.
 */
export function ForeignText({ text, most = 2000 }: { readonly text: string; readonly most?: number }): Child {
  const shown = text.length <= most ? text : `${text.slice(0, most)}…`;
  return <bdi>{shown.split("\n").map(printable).join("\n")}</bdi>;
}

/** A tag, or the first digits of a digest. */
export function shortReference(reference: string): string {
  return isDigest(reference) ? hexOf(reference).slice(0, 12) : reference;
}

/** A name or a command that may break at its slashes. Browsers would break it anywhere. */
export function Breakable({ text }: { readonly text: string }): Child {
  return text.split(/(?<=[^/]\/)(?!\/)|(?=@)/).map((part, i) => [i > 0 && <wbr />, part]);
}

/** A name in two tones: its path, and its last part. */
export function RepositoryName({ name }: { readonly name: string }): Child {
  const slash = name.lastIndexOf("/") + 1;
  return (
    <>
      <span class="path">
        <Breakable text={name.slice(0, slash)} />
      </span>
      {slash > 0 && <wbr />}
      {name.slice(slash)}
    </>
  );
}

interface WhenProps {
  /** Milliseconds since 1970, as `now`. */
  readonly ms: number;
  readonly now: number;
  /** Is the exact time shown too? Else it is the title, which a touch screen does not show. */
  readonly isExact?: boolean;
}

/** `2 hours ago`, `in 2 days` or `21 Oct 2026`. */
export function When({ ms, now, isExact = false }: WhenProps): Child {
  const date = new Date(ms);
  const day = date.toUTCString().slice(5, 16).replace(/^0/, "");
  const exact = `${day}, ${date.toISOString().slice(11, 16)}\u00a0UTC`;
  return (
    <>
      <time datetime={date.toISOString()} {...(!isExact && { title: exact })}>
        {distanceOf(now - ms) ?? day}
      </time>
      {isExact && <small>{exact}</small>}
    </>
  );
}

/** Undefined above a month. */
function distanceOf(passedMs: number): string | undefined {
  const minutes = Math.floor(Math.abs(passedMs) / 60_000);
  const [hours, days] = [Math.floor(minutes / 60), Math.floor(minutes / 60 / 24)];
  if (days > 30) return undefined;
  const short = minutes > 0 ? formatCount(minutes, "minute") : "a moment";
  const text = days > 0 ? formatCount(days, "day") : hours > 0 ? formatCount(hours, "hour") : short;
  return passedMs < 0 ? `in ${text}` : `${text} ago`;
}

/** The way back: to all repositories, and to the repository of an image. */
export function Crumbs({ view, repository }: { readonly view: View; readonly repository?: string }): Child {
  return (
    <nav class="crumbs" aria-label="Breadcrumb">
      <a href={`${view.base}/`}>Repositories</a>
      {repository !== undefined && (
        <a href={repositoryUrl(view, repository)}>
          <Breakable text={repository} />
        </a>
      )}
    </nav>
  );
}

/** A text that a button copies, if scripts run. `label` says what is copied. */
export function Copyable({ text, label }: { readonly text: string; readonly label: string }): Child {
  return (
    <span class="copyable" data-copy={label}>
      <code>
        <Breakable text={text} />
      </code>
    </span>
  );
}

/** The command that does what the upload does. */
export function LoadCommand({ view: { url, caller } }: { readonly view: View }): Child {
  const token = caller === undefined ? "" : ' -H "Authorization: Bearer $TOKEN"';
  return (
    <div class="subject">
      <Copyable text={`docker save team/app:1.4 | curl${token} -T - ${url}/v1/load`} label="Copy the command" />
    </div>
  );
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
