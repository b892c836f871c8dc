/**
 * Packs Stowage and installs it into a folder of its own, as a stranger would, but without any network: what it depends on
 * is linked from this checkout.
 */
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";
import { buildStowage } from "../support/build.ts";
import { runTool } from "../tools/run-tool.ts";

export const checkout = fileURLToPath(new URL("../..", import.meta.url));

export interface InstalledPackage {
  /** Holds `node_modules/stowage`. */
  readonly folder: string;
  /** Paths in the package. */
  readonly files: readonly string[];
  /** Bytes of the tarball. */
  readonly packedBytes: number;
  readonly manifest: PackageManifest;
}

/** What the tests look at in `package.json`. */
export interface PackageManifest {
  readonly exports: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
}

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly files: readonly { readonly path: string }[];
}

const folders = new Set<string>();

afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true });
  folders.clear();
});

/** `others` are packages besides the dependencies that the folder is to have, such as a stranger's types. */
export async function installPackage(others: readonly string[] = []): Promise<InstalledPackage> {
  await buildStowage();
  const folder = await mkdtemp(join(tmpdir(), "stowage-library-"));
  folders.add(folder);
  const packing = ["pack", "--ignore-scripts", "--json", "--pack-destination", folder];
  const [packed] = JSON.parse(await runTool("npm", packing, { cwd: checkout })) as readonly Packed[];
  if (packed === undefined) throw new Error("expected npm to have packed something");
  const home = join(folder, "node_modules/stowage");
  await mkdir(home, { recursive: true });
  await runTool("tar", ["-xzf", join(folder, packed.filename), "-C", home, "--strip-components=1"]);
  const manifest = JSON.parse(await readFile(join(home, "package.json"), "utf8")) as PackageManifest;
  for (const name of [...Object.keys(manifest.dependencies), ...others]) await link(name, folder);
  const own = { type: "module", dependencies: { stowage: "*", hono: "*" } };
  await writeFile(join(folder, "package.json"), JSON.stringify(own));
  return { folder, manifest, packedBytes: packed.size, files: packed.files.map(({ path }) => path) };
}

async function link(name: string, folder: string): Promise<void> {
  const place = join(folder, "node_modules", name);
  await mkdir(dirname(place), { recursive: true });
  await symlink(join(checkout, "node_modules", name), place);
}

export interface CompileOptions {
  readonly files: readonly string[];
  readonly module?: "nodenext" | "esnext";
  readonly lib?: readonly string[];
  readonly types?: readonly string[];
}

/**
 * Type-checks files of the folder as strictly as anybody may, the package's declarations too, and writes their JavaScript.
 */
export async function compile(folder: string, { files, module = "nodenext", ...rest }: CompileOptions): Promise<void> {
  const { lib = ["es2023", "dom"], types = [] } = rest;
  const compilerOptions = {
    target: "es2022",
    module,
    moduleResolution: module === "nodenext" ? "nodenext" : "bundler",
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    noPropertyAccessFromIndexSignature: true,
    skipLibCheck: false,
    lib,
    types,
  };
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files }));
  await runTool(join(checkout, "node_modules/.bin/tsc"), ["-p", folder]);
}
