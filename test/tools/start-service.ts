/** Starts an engine, a registry or a Stowage beside the tests, and sees to it that none outlives them. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { toolEnvironment } from "./run-tool.ts";

const superviseScript = fileURLToPath(new URL("supervise.sh", import.meta.url));
const startTimeoutMs = 60_000;
/** How much of what a service prints is kept for messages. */
const maxLogLength = 1024 * 1024;

export interface ServiceOptions {
  readonly command: readonly [string, ...string[]];
  /** Is deleted once the service has ended. */
  readonly folder: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Is asked again and again, with all that the service has printed, until it answers with what the caller needs. */
  readonly ready: (output: string) => Promise<string | undefined> | string | undefined;
}

export interface Service {
  /** What `ready` answered. */
  readonly answer: string;
  /** What the service has printed so far. */
  readonly output: () => string;
  /** Ends the service and deletes its folder. */
  readonly stop: () => Promise<void>;
}

/** Starts a service and waits until it is ready. Rejects with what it printed if it ends or takes more than a minute. */
export async function startService({ command, folder, env, ready }: ServiceOptions): Promise<Service> {
  const child = spawn("bash", [superviseScript, folder, ...command], {
    env: toolEnvironment(env),
    stdio: ["pipe", "pipe", "pipe"],
  });
  const ended = once(child, "close");
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output = (output + text).slice(-maxLogLength)));
  }
  const stop = async (): Promise<void> => {
    child.stdin.end();
    await ended;
  };
  const deadline = Date.now() + startTimeoutMs;
  while (child.exitCode === null && Date.now() < deadline) {
    const answer = await ready(output);
    if (answer !== undefined) return { answer, output: () => output, stop };
    await sleep(50);
  }
  const outcome = child.exitCode === null ? `not ready after ${startTimeoutMs} ms` : `it ended with ${child.exitCode}`;
  await stop();
  throw new Error(`Cannot start ${JSON.stringify(command.join(" "))}: ${outcome}\n${output}`);
}
