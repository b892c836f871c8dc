/** Builds `dist` for the tests that run the program itself, once for all of them. */
import { readFile, readdir, stat, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { runTool } from "../tools/run-tool.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const program = join(root, "dist/cli/stowage.js");
/** Holds the id of the process that builds. */
const lock = join(root, "node_modules/.stowage-build");

let built: Promise<string> | undefined;

/**
 * Builds `dist` if a source is newer and returns the path of the program. Test files that run at once wait for one another.
 */
export async function buildStowage(): Promise<string> {
  built ??= build();
  return built;
}

async function build(): Promise<string> {
  while (!(await takeLock())) await sleep(100);
  try {
    if (await isOld()) await runTool("npm", ["run", "build"], { cwd: root });
    return program;
  } finally {
    await unlink(lock);
  }
}

async function takeLock(): Promise<boolean> {
  try {
    await writeFile(lock, String(process.pid), { flag: "wx" });
    return true;
  } catch {
    const holder = Number(await readFile(lock, "utf8").catch(() => ""));
    if (holder > 0 && !isAlive(holder)) await unlink(lock).catch(() => undefined); // two at once both build: no harm
    return false;
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Each build writes every file anew, so that the age of one tells the age of all. */
async function isOld(): Promise<boolean> {
  const builtAt = await changedAt(program).catch(() => 0);
  const sources = await readdir(join(root, "src"), { recursive: true, withFileTypes: true });
  const paths = sources.filter((it) => it.isFile()).map((it) => join(it.parentPath, it.name));
  return (await Promise.all([...paths, join(root, "tsconfig.json")].map(changedAt))).some((at) => at > builtAt);
}

async function changedAt(path: string): Promise<number> {
  return (await stat(path)).mtimeMs;
}
