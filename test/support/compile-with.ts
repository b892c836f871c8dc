/** Compiles code of `src` with a few expressions replaced: mutants, which a suite that calls the code right has to find. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** Puts `by` in the place of `replace`, which must be there, once. */
export interface Edit {
  /** A file in `src`. */
  readonly file: string;
  readonly replace: string;
  readonly by: string;
}

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Compiles the entry, TypeScript that imports `./src/…`, and returns its exports. Throws if an edit cannot be made. */
export async function compileWith(edits: readonly Edit[], entry: string): Promise<unknown> {
  const left = new Set(edits);
  const { outputFiles } = await build({
    stdin: { contents: entry, resolveDir: root, loader: "ts" },
    bundle: true,
    write: false,
    format: "esm",
    platform: "node",
    // Packages in CommonJS require modules of Node.
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire("/");' },
    plugins: [
      {
        name: "edits",
        setup(plugins): void {
          plugins.onLoad({ filter: /\/src\/[\w/-]+\.ts$/ }, async ({ path }) => {
            const own = edits.filter(({ file }) => path.endsWith(`/src/${file}`));
            for (const made of own) left.delete(made);
            return { contents: edit(await readFile(path, "utf8"), own), loader: "ts" };
          });
        },
      },
    ],
  });
  for (const { file } of left) throw new Error(`the entry does not import src/${file}, which is to be edited`);
  const code = outputFiles[0]?.text ?? "";
  return import(`data:text/javascript,${encodeURIComponent(code)}`);
}

function edit(source: string, edits: readonly Edit[]): string {
  return edits.reduce((text, { file, replace, by }) => {
    const found = text.split(replace).length - 1;
    if (found !== 1) throw new Error(`${file} has ${JSON.stringify(replace)} ${found} times, expected it once`);
    return text.replace(replace, () => by);
  }, source);
}
