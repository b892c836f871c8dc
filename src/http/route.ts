/**
 * Routes, and how a path finds its route. A path is split once, and each route compares a few of the segments: no pattern is
 * tried again from each slash, as a router does with `/:name{.+}/tags/list`.
 */
import type { Context } from "hono";
import type { Action } from "../auth/access.ts";

/** The values of the placeholders of a path, decoded: `{ name: "team/app", reference: "1.4" }`. */
export type Parameters<Name extends string = string> = Readonly<Record<Name, string>>;

type Answer = Response | Promise<Response>;

export interface Route {
  /** Those that the path has; `GET` answers `HEAD` too. None, where Stowage only says that it has no such route yet. */
  readonly methods: readonly string[];
  /**
   * Such as `/v2/<name>/manifests/<reference>`. `<name>`, a repository, and `<image>`, `NAME[:TAG]`, may have slashes in them.
   * No placeholder stands for nothing.
   */
  readonly path: string;
  /**
   * What a caller needs to be allowed with the repository of the path, or with any if the path has none; `anything`: one of
   * the actions; `nothing`: the URL itself is a secret.
   */
  readonly needs: Action | "anything" | "nothing";
  /** The query parameters that it has. */
  readonly query: readonly string[];
  readonly segments: readonly string[];
  readonly answer: (c: Context, parameters: Parameters) => Answer;
}

/** The names of the placeholders in a path. */
type NameIn<Path> = Path extends `${string}<${infer Name}>${infer Rest}` ? Name | NameIn<Rest> : never;

export interface RouteOptions<Path extends string> extends Pick<Route, "methods" | "needs"> {
  readonly path: Path;
  readonly query?: readonly string[];
  readonly answer: (c: Context, parameters: Parameters<NameIn<Path>>) => Answer;
}

/** Makes a route. Its handler gets what the path has placeholders for, and nothing else. */
export function route<Path extends string>({ methods, path, needs, query = [], answer }: RouteOptions<Path>): Route {
  const isComplete = (found: Parameters): found is Parameters<NameIn<Path>> =>
    segments.every((segment) => !isPlaceholder(segment) || nameOf(segment) in found);
  const segments = path.slice(1).split("/");
  return {
    methods,
    path,
    needs,
    query,
    segments,
    answer(c, parameters) {
      if (isComplete(parameters)) return answer(c, parameters);
      throw new TypeError(`expected all parameters of ${path}, found ${Object.keys(parameters).join(", ")}`);
    },
  };
}

/**
 * What the path has where the route has placeholders, still encoded; undefined if it is not a path of this route. What
 * follows a name counts from the end: the tag of `/v2/manifests/manifests/manifests` is the last word.
 */
export function parametersOf({ segments }: Route, path: readonly string[]): Parameters | undefined {
  const more = path.length - segments.length;
  const long = segments.findIndex(isLong);
  if (more < 0 || (more > 0 && long === -1)) return undefined;
  const placeOf = (i: number): number => (long === -1 || i <= long ? i : i + more);
  const isOther = (segment: string, i: number): boolean => !isPlaceholder(segment) && segment !== path[placeOf(i)];
  if (segments.some(isOther)) return undefined;
  const found = segments.flatMap((segment, i) => {
    const value = path.slice(placeOf(i), placeOf(i) + (i === long ? more : 0) + 1).join("/");
    return isPlaceholder(segment) ? [[nameOf(segment), value] as const] : [];
  });
  return found.some(([, value]) => value === "") ? undefined : Object.fromEntries(found);
}

function isPlaceholder(segment: string): boolean {
  return segment.startsWith("<");
}

function isLong(segment: string): boolean {
  return segment === "<name>" || segment === "<image>";
}

function nameOf(placeholder: string): string {
  return placeholder.slice(1, -1);
}
