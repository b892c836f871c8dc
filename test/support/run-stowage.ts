/** Runs the built program as users do: as a process of its own, with pipes for its standard streams. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll } from "vitest";
import { buildStowage } from "./build.ts";

export interface Outcome {
  /** Exit code; null if a signal killed it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: Uint8Array | string;
}

/** Runs `stowage` to its end. */
export async function stowage(args: readonly string[], { input, ...options }: RunOptions = {}): Promise<Outcome> {
  const running = await startCommand(args, options);
  running.stdin.end(input);
  return running.outcome;
}

export interface RunningCommand {
  /** Its process id. */
  readonly pid: number;
  readonly stdin: Writable;
  /** What it has written so far. */
  stdout(): string;
  stderr(): string;
  /** Stops reading what it writes, as `head` does. */
  closeOutput(): void;
  kill(signal: NodeJS.Signals): void;
  readonly outcome: Promise<Outcome>;
}

const children = new Set<ChildProcessByStdio<Writable, Readable, Readable>>();
const folders = new Set<string>();

afterAll(async () => {
  for (const child of children) child.kill("SIGKILL"); // only those of a test that failed are still there
  for (const folder of folders) await rm(folder, { recursive: true });
  folders.clear();
});

export async function startCommand(
  args: readonly string[],
  { cwd, env }: Omit<RunOptions, "input"> = {},
): Promise<RunningCommand> {
  const program = await buildStowage();
  const child = spawn(process.execPath, [program, ...args], {
    cwd: cwd ?? (await newFolder()),
    env: { PATH: process.env["PATH"], ...env }, // and no setting of whoever runs the tests
    stdio: ["pipe", "pipe", "pipe"],
  });
  children.add(child);
  child.stdin.on("error", () => undefined); // it may end before it has read everything
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const outcome = once(child, "close").then((): Outcome => {
    children.delete(child);
    return { code: child.exitCode, stdout, stderr };
  });
  return {
    pid: child.pid ?? 0,
    stdin: child.stdin,
    stdout: () => stdout,
    stderr: () => stderr,
    closeOutput: () => void child.stdout.destroy(),
    kill: (signal) => void child.kill(signal),
    outcome,
  };
}

export interface ServingCommand extends RunningCommand {
  readonly url: string;
}

/** Starts `stowage serve` on a free port and waits until it listens. */
export async function serveStowage(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<ServingCommand> {
  const running = await startCommand(["serve", "--port", "0", ...args], { env: { STOWAGE_LOG: "text", ...env } });
  const url = await until(() => /listens on (http:\/\/\S+?),/.exec(running.stdout())?.[1], 30).catch(
    (cause: unknown) => {
      throw new Error(`"stowage serve" does not listen: ${running.stdout()}${running.stderr()}`, { cause });
    },
  );
  return { ...running, url };
}

/** Asks again and again until there is an answer. */
export async function until<T>(ask: () => T | undefined | Promise<T | undefined>, maxSeconds = 10): Promise<T> {
  const deadline = Date.now() + maxSeconds * 1000;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${maxSeconds} seconds for nothing`);
    await sleep(10);
  }
}

/** An empty folder, which is deleted after the tests. */
export async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "stowage-cli-"));
  folders.add(folder);
  return folder;
}

/** The paths of all files below a folder, sorted; none if there is no such folder. */
export async function listFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .filter((path) => !path.endsWith(".stowage/reserve")) // room that a directory keeps for a full disk
    .toSorted();
}
