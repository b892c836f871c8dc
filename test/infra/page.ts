/** Reads the pages beside the files in infra/. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { projectFolder } from "./infra-tools.ts";

/** The snippets of shell in a page. */
export async function readSnippets(path: string): Promise<string[]> {
  const text = await readFile(join(projectFolder, path), "utf8");
  return [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, snippet = ""]) => snippet);
}

/** Their commands, each on one line and without comments. */
export async function readCommands(path: string): Promise<string[]> {
  const snippets = await readSnippets(path);
  return snippets
    .join("")
    .replaceAll(/ *\\\n */g, " ")
    .split("\n")
    .map((line) => line.replace(/ # .*$/, ""))
    .filter((line) => line !== "");
}
