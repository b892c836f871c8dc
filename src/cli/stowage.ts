#!/usr/bin/env node
/** The command line: runs a command with the process's streams and signals, and reports its error. */
import { setMaxListeners } from "node:events";
import { readFile } from "node:fs/promises";
import { StowageError, messageOf } from "../errors.ts";
import { isJsonObject } from "../oci/json.ts";
import { nearestName, warnOfUnknown } from "../settings/known-settings.ts";
import { type Command, exitCodes } from "./command.ts";
import { commands } from "./commands.ts";
import { printable } from "./format.ts";

// The AWS SDK warns on Node 20. Stowage supports Node 20 as long as the SDK works there.
process.env["AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED"] ??= "true";

outliveReaders();
process.exitCode = await main(process.argv.slice(2));

async function main([name = "--help", ...args]: readonly string[]): Promise<number> {
  if (["--version", "-V", "version"].includes(name)) return writeVersion();
  if (["--help", "-h", "help"].includes(name)) return writeHelp(args[0]);
  const command = await loadCommand(name);
  if (command === undefined) return unknownCommand(name);
  if (args.includes("--help") || args.includes("-h")) return writeHelp(name);
  const { signal, exitCode } = listenForSignals();
  const report = (text: string): void => void process.stderr.write(printable(`stowage ${name}: ${text}\n`));
  // The service writes these and more warnings to its log.
  if (name !== "serve") for (const warning of warnOfUnknown(process.env)) report(`Warning: ${warning}`);
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
    report(describeError(error, command));
    if (code === exitCodes.usage) process.stderr.write(`Try "stowage ${name} --help".\n`);
    return code;
  }
}

async function loadCommand(name: string): Promise<Command | undefined> {
  return Object.hasOwn(commands, name) ? commands[name]?.load() : undefined;
}

async function writeVersion(): Promise<number> {
  const manifest: unknown = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8"));
  const version = isJsonObject(manifest) ? manifest["version"] : undefined;
  process.stdout.write(`stowage ${String(version)} (${runtimeName()})\n`);
  return exitCodes.ok;
}

/** Such as `Node 22.15.0`. Bun and Deno also have the version of a Node, which is not shown. */
function runtimeName(): string {
  const { bun, deno, node } = process.versions;
  if (bun !== undefined) return `Bun ${bun}`;
  return deno === undefined ? `Node ${node}` : `Deno ${deno}`;
}

/** A command's help, or the list of the commands. */
async function writeHelp(name: string | undefined): Promise<number> {
  if (name === undefined) {
    process.stdout.write(mainHelp());
    return exitCodes.ok;
  }
  const command = await loadCommand(name);
  if (command === undefined) return unknownCommand(name);
  process.stdout.write(command.help);
  return exitCodes.ok;
}

function unknownCommand(name: string): number {
  const nearest = nearestName(name, Object.keys(commands));
  const hint = nearest === undefined ? "" : `, did you mean "${nearest}"?`;
  process.stderr.write(printable(`stowage: there is no command ${JSON.stringify(name)}${hint}\n\n`) + mainHelp());
  return exitCodes.usage;
}

/** If the reader of the output leaves, such as `head`, the output ends and the work goes on. */
function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}

function mainHelp(): string {
  const list = Object.entries(commands).map(([key, { summary }]) => `  ${key.padEnd(8)}${summary}\n`);
  return `Stowage turns any S3 bucket into an OCI image store that you can pipe a tarball into.

Usage: stowage COMMAND [OPTIONS]

${list.join("")}
"stowage help COMMAND" says more, with examples; "stowage version" says which this is.
Exit codes: 0 done, 1 failed or something is wrong, 2 wrong usage, 130 and 143 ended by a signal.
`;
}

interface Signals {
  readonly signal: AbortSignal;
  /** The exit code for the signal that came, if one did. */
  readonly exitCode: () => number | undefined;
}

/** The first signal asks the command to end. The process exits after the command's clean-up. */
function listenForSignals(): Signals {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal); // each running request listens
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

/** `util.parseArgs` has codes of its own for unknown options. */
function isUsageError(error: unknown): boolean {
  if (error instanceof StowageError) return error.code === "INPUT_INVALID";
  return error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
}

/** For an unknown option, names the nearest option in the command's help. */
function describeError(error: unknown, { help }: Command): string {
  const message = messageOf(error);
  const [, option] = /^Unknown option '(--?[^' ]+)/.exec(message) ?? [];
  if (option === undefined) return message;
  const nearest = nearestName(option, new Set(help.match(/--[a-z][a-z-]*/g)));
  return `there is no option ${option}${nearest === undefined ? "" : `, did you mean ${nearest}?`}`;
}
