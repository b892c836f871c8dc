import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";

const source = new URL("../src", import.meta.url).pathname;

/** What each folder, or file at the top, may import besides itself. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  runtimes: [
    "http",
    "open-app.ts",
    "config.ts",
    "open-store.ts",
    "settings.ts",
    "auth",
    "limits.ts",
    "errors.ts",
    "load",
    "uploads",
    "oci",
    "storage",
    "streams",
  ],
  cli: [
    "runtimes",
    "http",
    "load",
    "pull",
    "verify",
    "manage",
    "gc",
    "storage",
    "streams",
    "oci",
    "auth",
    "archive",
    "config.ts",
    "open-app.ts",
    "open-store.ts",
    "settings.ts",
    "known-settings.ts",
    "parse-quantity.ts",
    "nearest-name.ts",
    "limits.ts",
    "errors.ts",
  ],
  http: ["auth", "uploads", "load", "pull", "manage", "oci", "storage", "streams", "limits.ts", "errors.ts"],
  auth: ["oci", "errors.ts"],
  uploads: ["load", "marks", "oci", "storage", "streams", "clock.ts", "limits.ts", "errors.ts"],
  load: ["marks", "commit", "oci", "archive", "storage", "streams", "clock.ts", "limits.ts", "errors.ts"],
  commit: ["oci", "storage", "streams", "clock.ts", "limits.ts", "errors.ts"],
  manage: ["commit", "pull", "oci", "storage", "limits.ts", "errors.ts"],
  pull: ["commit", "oci", "storage", "streams", "limits.ts", "errors.ts"],
  gc: ["marks", "commit", "pull", "oci", "storage", "streams", "clock.ts", "limits.ts", "errors.ts"],
  marks: ["oci", "storage", "clock.ts", "errors.ts"],
  verify: ["load", "pull", "oci", "storage", "streams", "limits.ts", "errors.ts"],
  storage: ["oci", "streams", "loopback.ts", "errors.ts"],
  archive: ["streams", "errors.ts"],
  oci: ["errors.ts"],
  streams: ["errors.ts"],
  "open-app.ts": ["http", "storage", "streams", "config.ts", "open-store.ts", "settings.ts"],
  "open-store.ts": ["storage", "settings.ts", "errors.ts"],
  "config.ts": [
    "auth",
    "oci",
    "settings.ts",
    "known-settings.ts",
    "parse-quantity.ts",
    "limits.ts",
    "loopback.ts",
    "errors.ts",
  ],
  "known-settings.ts": ["nearest-name.ts", "settings.ts"],
  "parse-quantity.ts": [],
  "nearest-name.ts": [],
  "settings.ts": [],
  "clock.ts": [],
  "limits.ts": [],
  "loopback.ts": [],
  "errors.ts": [],
  "index.ts": [
    "auth",
    "gc",
    "http",
    "load",
    "oci",
    "storage",
    "streams",
    "clock.ts",
    "limits.ts",
    "errors.ts",
    "open-store.ts",
    "settings.ts",
  ],
};

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

const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".ts"));
const imports: Import[] = files.flatMap((from) =>
  importsOf(join(source, from)).map((to) => ({ from, to: relative(source, to) })),
);
const placeOf = (path: string): string => path.split("/")[0] ?? path;

describe("imports", () => {
  it("are found at all", () => {
    expect(imports.length).toBeGreaterThan(50);
  });

  it("go only downward", () => {
    const wrong = imports.filter(({ from, to }) => {
      const [here, there] = [placeOf(from), placeOf(to)];
      return here !== there && !(allowed[here]?.includes(there) ?? false);
    });
    expect(wrong).toEqual([]);
  });

  it("name a kind of store only where one is opened", () => {
    const wrong = imports.filter(
      ({ from, to }) => storeKinds.test(to) && !["storage", "open-store.ts", "index.ts"].includes(placeOf(from)),
    );
    expect(wrong).toEqual([]);
  });

  it("lead from no kind of store to the keys of the layout", () => {
    const below = /^storage\/(?:(?:s3|r2|directory)\/|(?:memory-store|object-store|settle-write|checked-body)\.ts$)/;
    expect(imports.filter(({ from, to }) => below.test(from) && to === "storage/keys.ts")).toEqual([]);
  });

  it("of a platform's own stand only in its runtime and in the command line", () => {
    const platforms =
      /from "(?:@hono\/node-server|hono\/(?:aws-lambda|cloudflare-workers|deno|bun)|cloudflare:|node:http|node:https)/;
    const wrong = files.filter(
      (path) =>
        !["runtimes", "cli"].includes(placeOf(path)) && platforms.test(readFileSync(join(source, path), "utf8")),
    );
    expect(wrong).toEqual([]);
  });

  it("of Deno and Bun are not needed: only their runtimes name them", () => {
    const wrong = files.filter(
      (path) => placeOf(path) !== "runtimes" && /\b(?:Deno|Bun)\./.test(readFileSync(join(source, path), "utf8")),
    );
    expect(wrong).toEqual([]);
  });

  it("reach no network or HTTP type below http/", () => {
    const wrong = files.filter(
      (path) =>
        !["runtimes", "cli", "http", "index.ts", "open-app.ts"].includes(placeOf(path)) &&
        /from "hono|\bnew Response\(|: Response\b/.test(readFileSync(join(source, path), "utf8")),
    );
    expect(wrong).toEqual([]);
  });
});
