/**
 * Routes, and how a path finds its route. A path is split once, and each route compares a few segments. A pattern such
 * as `/:name{.+}/tags/list` would be tried again at each slash of a long path.
 */
import type { Context } from "hono";
import type { Action } from "../auth/access.ts";

/** The decoded values of the placeholders of a path: `{ name: "team/app", reference: "1.4" }`. */
export type Parameters<Name extends string = string> = Readonly<Record<Name, string>>;

type Answer = Response | Promise<Response>;

export interface Route {
  /** `GET` also answers `HEAD`. */
  readonly methods: readonly string[];
  /**
   * Such as `/v2/<name>/manifests/<reference>`. Only `<name>` (a repository) and `<image>` (`NAME[:TAG]`) may have
   * slashes. No placeholder is empty.
   */
  readonly path: string;
  /**
   * The action that the caller needs for the repository of the path. If the path has no repository: for any repository.
   * `anything` stands for any action. `nothing` is for URLs that are secrets themselves.
   */
  readonly needs: Action | "anything" | "nothing";
  /** `HEAD` is for callers with this action too. A client that pushes asks first what is there. */
  readonly headAlsoFor?: Action | undefined;
  /** The query parameters of the route. */
  readonly query: readonly string[];
  readonly segments: readonly string[];
  readonly answer: (c: Context, parameters: Parameters) => Answer;
}

/** The names of the placeholders in a path. */
type NameIn<Path> = Path extends `${string}<${infer Name}>${infer Rest}` ? Name | NameIn<Rest> : never;

/** Makes a route. Its handler gets the placeholders of the path, and nothing else. */
export function route<Path extends string>({
  methods,
  path,
  needs,
  headAlsoFor,
  query = [],
  answer,
}: Pick<Route, "methods" | "needs" | "headAlsoFor"> & {
  readonly path: Path;
  readonly query?: readonly string[];
  readonly answer: (c: Context, parameters: Parameters<NameIn<Path>>) => Answer;
}): Route {
  const isComplete = (found: Parameters): found is Parameters<NameIn<Path>> =>
    segments.every((segment) => !isPlaceholder(segment) || nameOf(segment) in found);
  const segments = path.slice(1).split("/");
  return {
    methods,
    path,
    needs,
    headAlsoFor,
    query,
    segments,
    answer(c, parameters) {
      if (isComplete(parameters)) return answer(c, parameters);
      throw new TypeError(`expected all parameters of ${path}, found ${Object.keys(parameters).join(", ")}`);
    },
  };
}

/**
 * The values of the placeholders, still encoded. Undefined if the path does not belong to this route. Segments behind a
 * name are counted from the end of the path: the tag of `/v2/manifests/manifests/manifests` is the last word.
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
