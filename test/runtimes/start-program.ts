/** Starts the service as a process of a runtime's own, without anything between the test and the process. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { afterAll } from "vitest";
import { buildStowage } from "../support/build.ts";
import { newFolder, until } from "../support/run-stowage.ts";
import { findTool } from "../tools/find-tool.ts";
import type { RuntimeUnderTest } from "./start-runtime.ts";

export interface Program {
  readonly child: ChildProcess;
  /** All that it has said. */
  readonly output: () => string;
  /** Resolves once it listens. */
  readonly url: Promise<string>;
  /** The exit code. */
  readonly ended: Promise<number | null>;
}

/** Deno compiles all sources when it first starts, and other tests may have the CPU. */
const maxStartSeconds = 30;

const children = new Set<ChildProcess>();
afterAll(() => children.forEach((child) => child.kill("SIGKILL"))); // only those of a test that failed are still there

/** The command line may be run by another one, such as a shell that sets limits. */
export async function startProgram(
  { tool, command }: RuntimeUnderTest,
  settings: Readonly<Record<string, string>>,
  runner: readonly string[] = [],
): Promise<Program> {
  const place = { tool: findTool(tool) ?? tool, program: await buildStowage(), folder: await newFolder(), settings };
  const [first = "", ...rest] = [...runner, ...command(place)];
  const { PATH, HOME } = process.env;
  const child = spawn(first, rest, {
    env: { PATH, HOME, PORT: "0", STOWAGE_LOG: "text", ...settings },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.add(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (output += text));
  const ended = once(child, "close").then(() => {
    children.delete(child);
    return child.exitCode;
  });
  const url = until(() => /listens on (http:\/\/[^\s,]+)[\s,]/.exec(output)?.[1], maxStartSeconds);
  url.catch(() => undefined); // of one that is not to listen
  return { child, output: () => output, url, ended };
}
