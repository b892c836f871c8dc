/** Runs a program to its end, with an error that shows what it said. */
import { execFile } from "node:child_process";
import process from "node:process";
import { promisify } from "node:util";
import { toolsPath } from "./find-tool.ts";

/** What a program may print; archives go to files. */
const maxOutputBytes = 64 * 1024 * 1024;
const timeoutMs = 180_000;

export interface RunOptions {
  readonly cwd?: string;
  /** Added to the environment that `toolEnvironment` makes. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a program and returns what it wrote to standard output. Rejects if it fails or takes longer than three minutes. */
export async function runTool(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(command, args, {
      ...options,
      env: toolEnvironment(options.env),
      maxBuffer: maxOutputBytes,
      timeout: timeoutMs,
    });
    return stdout;
  } catch (error) {
    throw new Error(`Cannot run ${JSON.stringify([command, ...args].join(" "))}: ${describeFailure(error)}`, {
      cause: error,
    });
  }
}

/** Runs a line of shell, which fails if any program of its pipes fails. */
export async function runShell(script: string, options: RunOptions = {}): Promise<string> {
  return runTool("bash", ["-o", "pipefail", "-euc", script], options);
}

/** The environment for the programs: the tools first on the PATH, and no proxy between them and this machine. */
export function toolEnvironment(env: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  return { ...process.env, PATH: toolsPath, NO_PROXY: "127.0.0.1", no_proxy: "127.0.0.1", ...env };
}

function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const outcome = "killed" in error && error.killed === true ? `stopped after ${timeoutMs} ms` : exitOf(error);
  const output = ["stderr", "stdout"].map((name) =>
    String(Reflect.get(error, name) ?? "")
      .trim()
      .slice(-4000),
  );
  return [outcome, ...output.filter((text) => text !== "")].join("\n");
}

function exitOf(error: Error): string {
  const code: unknown = Reflect.get(error, "code");
  return typeof code === "number" ? `exit code ${code}` : error.message;
}
