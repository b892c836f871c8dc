import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";

const source = new URL("../src", import.meta.url).pathname;

/**
 * The house, from the roof down: `docs/architecture.md` draws it. A folder may import from lower lines, and from nothing beside
 * it or above.
 */
const floors: readonly (readonly string[])[] = [
  ["index.ts", "cli"],
  ["runtimes"],
  ["open-app.ts"],
  ["page"],
  ["http"],
  ["load", "push", "registry", "uploads", "export", "copy", "gc", "verify"],
  ["layout"],
  ["layout/index"],
  ["layout/keys.ts"],
  ["oidc"],
  ["open-store.ts", "remote"],
  ["settings", "storage", "archive"],
  ["auth"],
  ["oci"],
  ["streams"],
  ["events.ts"],
  ["clock.ts", "digest.ts", "limits.ts", "loopback.ts", "is-node.ts", "errors.ts", "format-bytes.ts"],
];

/** Files outside `layout/` that name objects of their own, or blobs and indexes. */
const keyOwners = [
  "uploads",
  "push",
  "export/stage-export.ts",
  "copy/transfer-blobs.ts",
  "gc/saved-run.ts",
  "verify",
  "runtimes/load-incoming.ts",
];

/** Capabilities see a store only as an `ObjectStore`, never one of its kinds. */
const storeKinds = /storage\/(?:(?:s3|r2|directory)\/|memory-store\.ts$)/;

interface Import {
  readonly from: string;
  readonly to: string;
}

function importsOf(file: string): string[] {
  const text = readFileSync(file, "utf8");
  return [...text.matchAll(/(?:from|import|import\() ?"(\.[^"]+)"/g)].map(([, path = ""]) => join(dirname(file), path));
}

const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((path) => /\.tsx?$/.test(path));
const imports: Import[] = files.flatMap((from) =>
  importsOf(join(source, from)).map((to) => ({ from, to: relative(source, to) })),
);
const places = floors.flat().toSorted((a, b) => b.length - a.length);
const placeOf = (path: string): string =>
  places.find((place) => path === place || path.startsWith(`${place}/`)) ?? path;
const floorOf = (path: string): number => floors.findIndex((floor) => floor.includes(placeOf(path)));

const filesWith = (pattern: RegExp): string[] =>
  files.filter((path) => pattern.test(readFileSync(join(source, path), "utf8")));

describe("imports", () => {
  it("are found at all", () => {
    expect(imports.length).toBeGreaterThan(50);
  });

  it("are judged by rules that name only what is there", () => {
    const isThere = (place: string): boolean => files.some((path) => path === place || path.startsWith(`${place}/`));
    expect([...places, ...keyOwners].filter((place) => !isThere(place))).toEqual([]);
    expect(files.filter((path) => storeKinds.test(path)).length).toBeGreaterThan(10);
  });

  it("go only downward", () => {
    const wrong = imports.filter(({ from, to }) => placeOf(from) !== placeOf(to) && floorOf(from) >= floorOf(to));
    expect(wrong).toEqual([]);
    expect(files.filter((path) => floorOf(path) === -1)).toEqual([]);
  });

  it("go in no circle, types included", () => {
    const below = new Map(files.map((file) => [file, imports.filter(({ from }) => from === file).map(({ to }) => to)]));
    const done = new Set<string>();
    const circles: string[] = [];
    const visit = (file: string, way: readonly string[]): void => {
      if (way.includes(file)) circles.push([...way.slice(way.indexOf(file)), file].join(" -> "));
      if (way.includes(file) || done.has(file)) return;
      for (const next of below.get(file) ?? []) visit(next, [...way, file]);
      done.add(file);
    };
    for (const file of files) visit(file, []);
    expect(circles).toEqual([]);
  });

  it("reach how an index changes only through layout/", () => {
    const wrong = imports.filter(
      ({ from, to }) => placeOf(to) === "layout/index" && !placeOf(from).startsWith("layout"),
    );
    expect(wrong).toEqual([]);
  });

  it("name keys only in layout/, and in a capability that owns the names", () => {
    const wrong = imports.filter(
      ({ from, to }) =>
        to === "layout/keys.ts" &&
        !["layout", ...keyOwners].some((place) => from === place || from.startsWith(`${place}/`)),
    );
    expect(wrong).toEqual([]);
  });

  it("name a kind of store only where one is opened", () => {
    const wrong = imports.filter(
      ({ from, to }) => storeKinds.test(to) && !["storage", "open-store.ts", "index.ts"].includes(placeOf(from)),
    );
    expect(wrong).toEqual([]);
  });

  it("lead from no store to the layout and its keys", () => {
    expect(imports.filter(({ from, to }) => from.startsWith("storage/") && to.startsWith("layout/"))).toEqual([]);
  });

  it("of a platform's own stand only in its runtime and in the command line", () => {
    const found = filesWith(
      /from "(?:@hono\/node-server|hono\/(?:aws-lambda|cloudflare-workers|deno|bun)|cloudflare:|node:http|node:https)/,
    );
    expect(found.length).toBeGreaterThan(0);
    expect(found.filter((path) => !["runtimes", "cli"].includes(placeOf(path)))).toEqual([]);
  });

  it("of Deno and Bun are not needed: only their runtimes name them", () => {
    const found = filesWith(/\b(?:Deno|Bun)\./);
    expect(found.length).toBeGreaterThan(0);
    expect(found.filter((path) => placeOf(path) !== "runtimes")).toEqual([]);
  });

  it("reach no network or HTTP type below http/, except where a registry is read", () => {
    const found = filesWith(/from "hono|\bnew Response\(|: Response\b/);
    const allowed = ["runtimes", "cli", "http", "page", "index.ts", "open-app.ts", "remote"];
    expect(found.length).toBeGreaterThan(0);
    expect(found.filter((path) => !allowed.includes(placeOf(path)))).toEqual([]);
  });
});
