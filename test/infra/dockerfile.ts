/** Reads infra/Dockerfile, and lays out a folder as the image that it makes, without the base image that it starts from. */
import { chmod, chown, copyFile, cp, mkdir, readFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import process from "node:process";
import { buildStowage } from "../support/build.ts";
import { runTool } from "../tools/run-tool.ts";
import { projectFolder } from "./infra-tools.ts";

export interface Instruction {
  /** In capitals, such as `COPY`. */
  readonly keyword: string;
  /** The rest, on one line. */
  readonly text: string;
}

/** The instructions of the last stage, the one that becomes the image. */
export async function readImageStage(): Promise<Instruction[]> {
  const instructions = await readDockerfile();
  return instructions.slice(instructions.findLastIndex(({ keyword }) => keyword === "FROM"));
}

export async function readDockerfile(): Promise<Instruction[]> {
  const text = await readFile(join(projectFolder, "infra/Dockerfile"), "utf8");
  const lines = text
    .replaceAll(/^#.*\n/gm, "")
    .replaceAll("\\\n", " ")
    .split("\n");
  return lines
    .filter((line) => line !== "")
    .map((line) => ({ keyword: line.slice(0, line.indexOf(" ")), text: line.slice(line.indexOf(" ") + 1).trim() }));
}

/** The command, or the health check's, that an instruction gives as a JSON list. */
export function commandOf(instruction: Instruction | undefined): string[] {
  const list = /\[.*\]/.exec(instruction?.text ?? "")?.[0];
  const command: unknown = list === undefined ? undefined : JSON.parse(list);
  if (Array.isArray(command) && command.every((word) => typeof word === "string")) return command;
  throw new TypeError(`Cannot run ${JSON.stringify(instruction)}: expected a command as a JSON list`);
}

/** What its ENV instructions set. */
export function environmentOf(stage: readonly Instruction[]): Record<string, string> {
  const words = stage.filter(({ keyword }) => keyword === "ENV").flatMap(({ text }) => text.split(/ +/));
  return Object.fromEntries(words.map((word) => [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)]));
}

/**
 * Fills a folder as `as-container.sh` wants it: `app` as the image has it, with the packages of production alone, `data`
 * of the user, and `bin` with this Node.
 */
export async function layOutImage(folder: string, uid: number): Promise<void> {
  const app = join(folder, "app");
  await mkdir(join(folder, "data"), { recursive: true });
  await mkdir(join(folder, "bin"));
  await chmod(folder, 0o755);
  await chown(join(folder, "data"), uid, uid);
  await copyFile(process.execPath, join(folder, "bin/node"));
  for (const { keyword, text } of await readImageStage()) {
    const [, name = "", target = ""] = /^--from=build \/build\/(\S+) (\S+)$/.exec(text) ?? [];
    if (keyword !== "COPY") continue;
    if (name === "node_modules") await copyPackages(app);
    else if (name === "dist") await cp(dirname(dirname(await buildStowage())), join(app, target), { recursive: true });
    else await cp(join(projectFolder, name), join(app, target === "./" ? basename(name) : target));
  }
}

/** What `npm prune --omit=dev` leaves. */
async function copyPackages(app: string): Promise<void> {
  const list = await runTool("npm", ["ls", "--omit=dev", "--all", "--parseable"], { cwd: projectFolder });
  const packages = list.split("\n").filter((path) => path.includes("/node_modules/"));
  for (const path of packages) {
    await cp(path, join(app, relative(projectFolder, path)), {
      recursive: true,
      filter: (file) => file === path || basename(file) !== "node_modules", // those inside are on the list themselves
    });
  }
}
