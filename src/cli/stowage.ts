#!/usr/bin/env node
/** The command line: finds the command, gives it the process's streams and signals, and reports what it throws. */
import { setMaxListeners } from "node:events";
import { StowageError, messageOf } from "../errors.ts";
import { type Command, exitCodes } from "./command.ts";
import { printable } from "./format.ts";
import { gc } from "./gc.ts";
import { load } from "./load.ts";
import { ls } from "./ls.ts";
import { rm } from "./rm.ts";
import { serve } from "./serve.ts";
import { token } from "./token.ts";
import { verify } from "./verify.ts";

// The AWS SDK warns on Node 20, which Stowage supports as long as that SDK does: `engines` in package.json says so.
process.env["AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED"] ??= "true";

const commands: Readonly<Record<string, Command>> = { serve, load, ls, rm, verify, gc, token };

outliveReaders();
process.exitCode = await main(process.argv.slice(2));

async function main([name = "--help", ...args]: readonly string[]): Promise<number> {
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) return mainHelp(name);
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(command.help);
    return exitCodes.ok;
  }
  const { signal, exitCode } = listenForSignals();
  try {
    return await command.run(args, {
      env: process.env,
      stdin: process.stdin,
      stdout: process.stdout,
      stderr: process.stderr,
      signal,
    });
  } catch (error) {
    const code = exitCode() ?? (isUsageError(error) ? exitCodes.usage : exitCodes.failed);
    process.stderr.write(printable(`stowage ${name}: ${messageOf(error)}\n`));
    if (code === exitCodes.usage) process.stderr.write(`Try "stowage ${name} --help".\n`);
    return code;
  }
}

/** Whoever reads the output may leave, as `head` does: that ends the output, not the work. */
function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}

function mainHelp(name: string): number {
  const isAsked = ["--help", "-h", "help"].includes(name);
  const list = Object.entries(commands).map(([key, { summary }]) => `  ${key.padEnd(8)}${summary}\n`);
  const help = `Stowage turns any S3 bucket into an OCI image store that you can pipe a tarball into.

Usage: stowage COMMAND [OPTIONS]

${list.join("")}
"stowage COMMAND --help" says more, with examples.
Exit codes: 0 done, 1 failed or something is wrong, 2 wrong usage, 130 and 143 ended by a signal.
`;
  if (isAsked) process.stdout.write(help);
  else process.stderr.write(`stowage: there is no command ${JSON.stringify(name)}\n\n${help}`);
  return isAsked ? exitCodes.ok : exitCodes.usage;
}

interface Signals {
  readonly signal: AbortSignal;
  /** What a process ended by the signal exits with, if there was one. */
  readonly exitCode: () => number | undefined;
}

/** The first signal asks the command to end; the process exits once that has cleaned up. */
function listenForSignals(): Signals {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal); // as many as there are requests under way
  let code: number | undefined;
  const listen = (name: "SIGINT" | "SIGTERM", exitCode: number): void => {
    process.once(name, () => {
      code ??= exitCode;
      controller.abort(new StowageError("INTERRUPTED", `ended by ${name}`));
    });
  };
  listen("SIGINT", exitCodes.interrupted);
  listen("SIGTERM", exitCodes.terminated);
  return { signal: controller.signal, exitCode: () => code };
}

/** `util.parseArgs` has its own codes for options that it does not know. */
function isUsageError(error: unknown): boolean {
  if (error instanceof StowageError) return error.code === "INPUT_INVALID";
  return error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
}
