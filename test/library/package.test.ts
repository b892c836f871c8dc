/** The package as it is installed: what it offers, that each of it is explained, that its types hold, and what is in it. */
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { beforeAll, describe, expect, it } from "vitest";
import { runTool } from "../tools/run-tool.ts";
import { type InstalledPackage, compile, installPackage } from "./install-package.ts";

/** Values that each entry of the package offers. */
const values: Readonly<Record<string, readonly string[]>> = {
  ".": [
    "Layout",
    "StowageError",
    "byteStreamToBytes",
    "collectGarbage",
    "collectSlice",
    "createApp",
    "createLog",
    "defaultLimits",
    "isDigest",
    "loadArchive",
    "openStore",
  ],
  "./directory": ["DirectoryStore"],
  "./memory": ["MemoryStore"],
  "./r2": ["R2Store"],
  "./s3": ["S3Store", "createPresignClient", "createS3Client"],
};

/** Types that each entry offers besides. */
const types: Readonly<Record<string, readonly string[]>> = {
  ".": words(`
    Access AccessRules AccessSource Action Amount AppOptions BlobReceipt BlobStatus ByteChunks ByteRange ByteSource CallOptions Clock CopyOptions CopySource Descriptor Digest DropCondition
    ErrorCode Expectation GarbageOptions GarbageReport GetOptions Grant IgnoredEntry ImageName ImageReceipt LayoutOptions Limits ListedObject LoadOptions LogFormat ObjectInfo ObjectStore OciErrorCode OidcRule OpenStoreOptions
    OwnErrorCode Presigner PutCondition PutOptions PutResult Receipt Report RequestCounts RetentionRule SendOptions Settings SliceOptions SliceReport
    StoreReader StoredObject StowageErrorOptions StowageEvent TagPattern Token Unanswered Verdict WriteOptions WriteResult`),
  "./directory": [],
  "./memory": ["MemoryStoreOptions"],
  "./r2": ["R2Bucket", "R2StoreOptions"],
  "./s3": ["S3StoreOptions"],
};

/** Entries that are programs for a platform: they are loaded there alone, and tested there. */
const programs = ["./lambda", "./workers"];

/** Bytes that the packed package may have: a tarball that grows past it has something in it that nobody needs. */
const maxPackedBytes = 980 * 1024;

let installed: InstalledPackage;
beforeAll(async () => {
  installed = await installPackage(["@types/node"]);
});

const home = (): string => join(installed.folder, "node_modules/stowage");
const targetOf = (entry: string): string => join(home(), installed.manifest.exports[entry] ?? "none");

describe("the package", () => {
  it("has no other entries than those that are tested", () => {
    const entries = [...Object.keys(values), ...programs, "./package.json"];
    expect(Object.keys(installed.manifest.exports).toSorted()).toEqual(entries.toSorted());
  });

  it.each(Object.keys(values))("offers at %s what it is meant to, and nothing else", async (entry) => {
    const module = (await import(pathToFileURL(targetOf(entry)).href)) as Readonly<Record<string, unknown>>;
    expect(Object.keys(module).toSorted()).toEqual(values[entry]);
    const declared = await declarationsOf(entry);
    const offered = [...(values[entry] ?? []), ...(types[entry] ?? [])];
    expect([...declared.keys()].toSorted()).toEqual(offered.toSorted());
  });

  it.each(Object.keys(values))("explains everything that it offers at %s", async (entry) => {
    const declared = await declarationsOf(entry);
    const silent = [...declared].filter(([name, text]) => !isExplained(name, text)).map(([name]) => name);
    expect(silent).toEqual([]);
  });

  it("has what is built, its source, and nothing else", () => {
    const wanted = /^(?:dist\/.+\.(?:js|js\.map|d\.ts)|src\/.+\.tsx?|package\.json|README\.md|LICENSE)$/;
    expect(installed.files.filter((path) => !wanted.test(path))).toEqual([]);
    expect(installed.packedBytes).toBeLessThan(maxPackedBytes);
  });

  it("has every file that its entries name, with types", () => {
    const targets = Object.values(installed.manifest.exports).filter((path) => path.endsWith(".js"));
    const paths = targets.flatMap((path) => [path, path.replace(/\.js$/, ".d.ts")]);
    expect(paths.filter((path) => !existsSync(join(home(), path)))).toEqual([]);
  });

  it("leads from an error to the line of TypeScript", async () => {
    const lines =
      'import { openStore } from "stowage"; await openStore("nowhere:", {}).catch((e) => console.log(e.stack));';
    await writeFile(join(installed.folder, "fail.mjs"), lines);
    const stack = await runTool(process.execPath, ["--enable-source-maps", join(installed.folder, "fail.mjs")]);
    const [, line = ""] = /at openStore \(.*\/node_modules\/stowage\/src\/open-store\.ts:(\d+)/.exec(stack) ?? [];
    expect(line, stack).not.toBe("");
    const source = await readFile(join(home(), "src/open-store.ts"), "utf8");
    expect(source.split("\n")[Number(line) - 1]).toContain("throw new StowageError");
  });

  it("depends on everything that it imports", async () => {
    const imported = new Set<string>();
    for (const path of installed.files.filter((file) => /^dist\/.+\.(?:js|d\.ts)$/.test(file))) {
      const text = await readFile(join(home(), path), "utf8");
      for (const [, name = ""] of text.matchAll(/\b(?:from|import\(?) ?"((?:@[\w-]+\/)?[\w:-]+)[/"]/g)) {
        imported.add(name);
      }
    }
    const own = [...imported].filter((name) => !/^(?:node|cloudflare):/.test(name));
    expect(own.toSorted()).toEqual(Object.keys(installed.manifest.dependencies).toSorted());
  });

  it("gives a bundle the stores that it imports, and no others", async () => {
    const entry = join(installed.folder, "bundled.js");
    const lines = ['export { createApp, loadArchive } from "stowage";', 'export { R2Store } from "stowage/r2";'];
    await writeFile(entry, lines.join("\n"));
    const { metafile } = await build({
      entryPoints: [entry],
      bundle: true,
      format: "esm",
      platform: "node",
      write: false,
      metafile: true,
    });
    const [output] = Object.values(metafile.outputs);
    const inputs = Object.entries(output?.inputs ?? {}).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
    const paths = inputs.map(([path]) => path);
    expect(paths.some((path) => path.endsWith("storage/r2/r2-store.js"))).toBe(true);
    const others = /@aws-sdk|@smithy|node-server|cli-progress|storage\/(?:s3|directory|memory)/;
    expect(paths.filter((path) => others.test(path))).toEqual([]);
  });
});

describe("the package's types", () => {
  const consumer = `
    import { Hono } from "hono";
    import { hc } from "hono/client";
    import { type ObjectStore, type Receipt, Layout, createApp, loadArchive, openStore } from "stowage";
    import { DirectoryStore } from "stowage/directory";
    import { MemoryStore } from "stowage/memory";
    import { R2Store } from "stowage/r2";
    export const stores: (typeof DirectoryStore | typeof MemoryStore | typeof R2Store)[] = [];
    export const store: ObjectStore = await openStore("memory:", {});
    const layout = Layout.open(store, { limits: { maxEntries: 5 } });
    const app = new Hono<{ Bindings: { own: string } }>()
      .get("/own", (c) => c.json({ own: c.env.own }))
      .route("/images", createApp({ layout, access: "anyone", report: () => undefined }));
    export const { own }: { own: string } = await (await hc<typeof app>("http://own.example").own.$get()).json();
    async function* chunks() { yield new Uint8Array(1); }
    export const receipt: Receipt = await loadArchive(layout, chunks());
    const { body } = await fetch("http://own.example");
    if (body !== null) await loadArchive(layout, body, { name: "team/app:1.4" });
    export { default as worker } from "stowage/workers";
    export default app;`;

  it.each(["nodenext", "esnext"] as const)("hold without those of any platform, module %s", async (module) => {
    await writeFile(join(installed.folder, "consumer.ts"), consumer);
    await compile(installed.folder, { files: ["consumer.ts"], module });
  });

  it("hold with Node's for whoever imports what the AWS SDK has its hands in", async () => {
    const s3 = `
      import { Layout, createApp } from "stowage";
      import { S3Store, createS3Client } from "stowage/s3";
      const store = new S3Store({ client: createS3Client(process.env), bucket: "bucket" });
      export const app = createApp({ layout: Layout.open(store), access: "anyone" });
      export { handler } from "stowage/lambda";`;
    await writeFile(join(installed.folder, "s3.ts"), s3);
    await compile(installed.folder, { files: ["s3.ts"], types: ["node"] });
  });
});

/** Everything that an entry exports, by name, with the declarations of the file that it comes from. */
async function declarationsOf(entry: string): Promise<Map<string, string>> {
  const path = targetOf(entry).replace(/\.js$/, ".d.ts");
  const text = await readFile(path, "utf8");
  const declared = new Map<string, string>();
  for (const [, name = ""] of text.matchAll(/^export (?:declare )?(?:class|const|function|interface|type) (\w+)/gm)) {
    declared.set(name, text);
  }
  for (const [, names = "", from = ""] of text.matchAll(/^export (?:type )?\{([^}]*)\} from "(.*)";$/gm)) {
    const source = await readFile(join(path, "..", from.replace(/\.ts$/, ".d.ts")), "utf8");
    for (const name of words(names.replaceAll(/\btype\b|,/g, " "))) declared.set(name, source);
  }
  return declared;
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

/** Does a comment end right above the declaration? */
function isExplained(name: string, text: string): boolean {
  return new RegExp(`\\*/\\nexport (?:declare )?(?:class|const|function|interface|type) ${name}\\b`).test(text);
}
