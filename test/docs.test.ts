/** The documents: every link leads somewhere, every `npm run` exists, and tables say what the code does. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { commands } from "../src/cli/commands.ts";
import { StowageError, isErrorCode, isTransient } from "../src/errors.ts";
import { errorResponse } from "../src/http/error-response.ts";
import { isJsonObject } from "../src/oci/json.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const maxReadmeLines = 200;
const maxFolderReadmeLines = 30;
/** Folders that hold what somebody else wrote, or what is built. */
const foreign = ["node_modules", "dist", "data"];

const files = readdirSync(root, { withFileTypes: true })
  .filter(({ name }) => !name.startsWith(".") && !foreign.includes(name))
  .flatMap((entry) => (entry.isDirectory() ? filesBelow(entry.name) : [entry.name]))
  .filter((path) => !path.startsWith("infra/aws/build/"));
const documents = files.filter((path) => path.endsWith(".md"));
const read = (path: string): string => readFileSync(join(root, path), "utf8");

function filesBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
}

/** Blocks of code become empty lines, so that the numbers of lines stay. */
function withoutBlocks(text: string): string {
  return text.replaceAll(/^(```+).*?^\1$/gms, (block) => block.replaceAll(/[^\n]/g, ""));
}

function withoutCode(text: string): string {
  return withoutBlocks(text).replaceAll(/`[^`\n]*`/g, "");
}

/** The targets of links and images that lead to a place in the project: `docs/using.md#settings`. */
function linksOf(text: string): string[] {
  const prose = withoutCode(text);
  const found = [...prose.matchAll(/\]\(([^)\s]+)\)/g), ...prose.matchAll(/\b(?:src|href)="([^"]+)"/g)];
  return found.map(([, target = ""]) => target).filter((target) => !/^[a-z]+:/.test(target));
}

/** The fragments that a page makes of its headings, as GitHub does. */
function fragmentsOf(text: string): string[] {
  const headings = [...withoutBlocks(text).matchAll(/^#{1,6} (.+)$/gm)].map(([, title = ""]) => title);
  const seen = new Map<string, number>();
  return headings.map((title) => {
    const slug = title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-");
    const count = seen.get(slug) ?? 0;
    seen.set(slug, count + 1);
    return count === 0 ? slug : `${slug}-${count}`;
  });
}

/** Why a link of a document leads nowhere; undefined if it leads somewhere. */
function problemOf(document: string, link: string): string | undefined {
  const [path = "", fragment] = link.split("#", 2);
  const target = path === "" ? document : join(dirname(document), path);
  if (target.startsWith("..") || !existsSync(join(root, target))) return `${link}: there is no such file`;
  if (fragment === undefined || fragmentsOf(read(target)).includes(fragment)) return undefined;
  return `${link}: there is no such heading`;
}

describe("linksOf and fragmentsOf", () => {
  it("find links and headings, and none in code", () => {
    const text =
      '# A `b` c, d\n\n## A b c d\n\n[x](y.md#z) <img src="p.svg"> `[a](b)` [web](https://x)\n\n```sh\n# no\n[a](b)\n```\n';
    expect(linksOf(text)).toEqual(["y.md#z", "p.svg"]);
    expect(fragmentsOf(text)).toEqual(["a-b-c-d", "a-b-c-d-1"]);
  });
});

describe("the documents", () => {
  it("are found", () => {
    expect(documents).toEqual(
      expect.arrayContaining(["README.md", "SECURITY.md", "CONTRIBUTING.md", "docs/using.md", "infra/aws/README.md"]),
    );
  });

  it.each(documents)("%s has no link that leads nowhere", (document) => {
    const problems = linksOf(read(document)).map((link) => problemOf(document, link));
    expect(problems.filter((problem) => problem !== undefined)).toEqual([]);
  });

  it.each(documents)("%s names no script that package.json does not have", (document) => {
    const manifest: unknown = JSON.parse(read("package.json"));
    const scripts = isJsonObject(manifest) && isJsonObject(manifest["scripts"]) ? Object.keys(manifest["scripts"]) : [];
    const named = [...read(document).matchAll(/\bnpm run ([\w:-]+)/g)].map(([, name = ""]) => name);
    expect(named.filter((name) => !scripts.includes(name))).toEqual([]);
  });

  it("are all reached from README.md, which is short", () => {
    const reached = new Set(["README.md"]);
    for (const document of reached) {
      for (const link of linksOf(read(document))) {
        const target = join(dirname(document), link.replace(/#.*/, ""));
        if (target.endsWith(".md") && existsSync(join(root, target))) reached.add(target);
      }
    }
    expect(documents.filter((document) => !reached.has(document) && !document.startsWith("src/"))).toEqual([]);
    expect(read("README.md").split("\n").length).toBeLessThanOrEqual(maxReadmeLines);
  });

  it("are there where code names them", () => {
    const code = files.filter((path) => /\.(?:ts|mjs|cjs|sh|yaml|toml|service)$|Dockerfile$/.test(path));
    const own = relative(root, fileURLToPath(import.meta.url));
    const problems = code
      .filter((path) => path !== own)
      .flatMap((path) => {
        const named = [...read(path).matchAll(/\b(?:docs|infra|bench)\/[\w/-]+\.md\b|\b[A-Z]{4,}\.md\b/g)];
        return named
          .map(([name]) => name)
          .filter((name) => !existsSync(join(root, name)) && !existsSync(join(root, dirname(path), name)))
          .map((name) => `${path}: ${name}`);
      });
    expect(problems).toEqual([]);
  });
});

describe("READMEs of the folders of src", () => {
  const sources = files.filter((path) => path.startsWith("src/") && /\.tsx?$/.test(path));
  const folders = [...new Set(sources.map((path) => dirname(path)))].toSorted();
  const own = (folder: string): string => join(folder, "README.md");
  /** A folder inside another one may leave its README to the one around it: `src/storage` says what is in `src/storage/s3`. */
  const readmeOf = (folder: string): string =>
    !files.includes(own(folder)) && folder.split("/").length > 2 ? own(dirname(folder)) : own(folder);

  it.each(folders)("%s is explained, in at most thirty lines", (folder) => {
    expect(files).toContain(readmeOf(folder));
    expect(read(readmeOf(folder)).trimEnd().split("\n").length).toBeLessThanOrEqual(maxFolderReadmeLines);
  });

  it.each(folders)("%s is explained, each of its files", (folder) => {
    const text = files.includes(readmeOf(folder)) ? read(readmeOf(folder)) : "";
    const names = sources.filter((path) => dirname(path) === folder).map((path) => basename(path));
    const named = new Set(text.match(/[\w-]+\.tsx?\b/g));
    expect(names.filter((name) => !named.has(name))).toEqual([]);
  });

  it("name no file that is not there", () => {
    const wrong = folders.flatMap((folder) => {
      if (!files.includes(own(folder))) return [];
      const named = [...read(own(folder)).matchAll(/`([\w/-]+\.ts)`/g)].map(([, name = ""]) => name);
      const isThere = (name: string): boolean => files.some((path) => `/${path}`.endsWith(`/${name}`));
      return named.filter((name) => !isThere(name)).map((name) => `${folder}: ${name}`);
    });
    expect(wrong).toEqual([]);
  });
});

describe("limits in docs/architecture.md", () => {
  const page = "docs/architecture.md";
  /** Links such as [`maxPlaces`](../src/layout/found-referrers.ts). */
  const named = [...read(page).matchAll(/\[((?:`\w+`(?:, )?)+)\]\(([^)]+)\)/g)].flatMap(([, names = "", link = ""]) =>
    [...names.matchAll(/\w+/g)].map(([name]) => [name, join(dirname(page), link)] as const),
  );

  it("are found", () => {
    expect(named.length).toBeGreaterThan(60);
  });

  it("are declared in the files that they lead to", () => {
    const isDeclared = (name: string, path: string): boolean =>
      new RegExp(`\\b(?:const|readonly|class|function) ${name}\\b`).test(read(path));
    expect(named.filter(([name, path]) => !isDeclared(name, path))).toEqual([]);
  });
});

describe("steps in docs/architecture.md", () => {
  const page = "docs/architecture.md";
  const ways = withoutBlocks(read(page))
    .split(/^## /m)
    .filter((section) => section.startsWith("The way of"));
  /** From `1. [src/…` to the next step, or to the next line that is not indented. */
  const steps = ways.flatMap((way) =>
    way
      .split(/^(?=\d+\. )/m)
      .slice(1)
      .map((step) => step.split(/\n(?=[^\s\d])/)[0] ?? ""),
  );

  it("are found", () => {
    expect(ways.length).toBeGreaterThan(5);
    expect(steps.length).toBeGreaterThan(40);
  });

  it("name functions that are in the files to which they lead", () => {
    const wrong = steps.flatMap((step) => {
      const code = linksOf(step).filter((link) => link.endsWith(".ts"));
      const text = code.map((link) => read(join(dirname(page), link))).join("\n");
      const names = [...step.matchAll(/`(\w*[a-z]\w*)`/g)].map(([, name = ""]) => name);
      return names.filter((name) => !new RegExp(`\\b${name}\\b`).test(text)).map((name) => `${name}: ${step}`);
    });
    expect(wrong).toEqual([]);
  });
});

describe("commands in the documents", () => {
  const withoutHelp = ["help", "version"];
  /** What follows `stowage` in code: `load app.tar --to https://stowage.example`. */
  const calls = documents
    .filter((document) => !document.includes("/") || document.startsWith("docs/"))
    .flatMap((document) => {
      const code = [...read(document).matchAll(/^```(?:sh|text)\n(.*?)^```|`([^`\n]+)`/gms)];
      return code.flatMap(([, block = "", span = ""]) =>
        [...`${block}${span}`.matchAll(/(?<![\w/.:-])stowage +([a-z]+)([^\n|#]*)/g)].map(
          ([, name = "", rest = ""]) => [document, name, rest] as const,
        ),
      );
    });

  it("are found", () => {
    expect(calls.length).toBeGreaterThan(40);
  });

  it("exist, with their options", async () => {
    const loaded = Object.entries(commands).map(async ([name, { load }]) => [name, (await load()).help] as const);
    const helps = new Map(await Promise.all(loaded));
    const wrong = calls.filter(([, name, rest]) => {
      const help = helps.get(name);
      const options = rest.match(/(?<= )--[a-z-]+/g) ?? [];
      return help === undefined ? !withoutHelp.includes(name) : options.some((option) => !help.includes(option));
    });
    expect(wrong).toEqual([]);
  });
});

describe("the table of errors in docs/using.md", () => {
  const rows = [...read("docs/using.md").matchAll(/^\| `([A-Z_]+)` +\| (\d{3}) +\|.*\| (yes|no) +\|$/gm)];

  it("has every code, once", () => {
    const codes = [...read("src/errors.ts").matchAll(/^ {2}\| "([A-Z_]+)"/gm)].map(([, code = ""]) => code);
    expect(rows.map(([, code]) => code)).toEqual(codes.toSorted());
  });

  it.each(rows.map(([, code = "", status = "", again = ""]) => [code, status, again]))(
    "says of %s its status, %s, and whether to try again: %s",
    (code, status, again) => {
      if (!isErrorCode(code)) throw new Error(`found ${code}, expected a code`);
      expect(errorResponse(new StowageError(code, "x")).status).toBe(Number(status));
      expect(again).toBe(isTransient(code) ? "yes" : "no");
    },
  );
});
