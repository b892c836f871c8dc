/** A command of the command line, and the checks of its arguments. */
import { messageOf, StowageError } from "../errors.ts";
import type { Environment } from "../settings/settings.ts";

export interface Command {
  /** What `stowage COMMAND --help` prints: usage, options, examples. */
  readonly help: string;
  /**
   * Runs with the arguments behind the command's name and returns the exit code. Thrown errors are reported to the
   * user.
   */
  run(args: readonly string[], io: CommandIo): Promise<number>;
}

/** The process around a command. */
export interface CommandIo {
  readonly env: Environment;
  readonly stdin: Input;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Fires on SIGINT and SIGTERM. The command then cleans up and ends. */
  readonly signal: AbortSignal;
}

export interface Input extends AsyncIterable<Uint8Array> {
  readonly isTTY?: boolean;
  /** Closes the input: an open pipe keeps the process alive. */
  destroy(): unknown;
}

export interface Output extends NodeJS.WritableStream {
  readonly isTTY?: boolean;
  /** Characters in a line of the terminal. */
  readonly columns?: number;
}

/** Exit codes of every command. */
export const exitCodes = {
  ok: 0,
  /** The command failed, or found an error in the store. */
  failed: 1,
  /** The arguments or the settings cannot be used. */
  usage: 2,
  /** 128 plus the number of the signal. */
  interrupted: 130,
  terminated: 143,
} as const;

/** Checks the number of arguments beside the options. Throws `INPUT_INVALID`. `usage` is a part of the usage line. */
export function checkCount(positionals: readonly string[], min: number, max: number, usage: string): void {
  const found = positionals.length;
  if (found >= min && found <= max) return;
  const list = positionals.map((text) => JSON.stringify(text)).join(" ");
  throw new StowageError("INPUT_INVALID", `found ${found === 0 ? "no arguments" : list}, expected ${usage}`);
}

/** Throws `INPUT_INVALID` if the options name a store and a service. */
export function checkOneTarget({
  store,
  to,
}: {
  readonly store?: string | undefined;
  readonly to?: string | undefined;
}): void {
  if (store === undefined || to === undefined) return;
  throw new StowageError("INPUT_INVALID", "found both --store and --to, expected one of them");
}

/** Parses a name from the command line. Here a bad name is wrong usage (exit code 2). In an archive it is not. */
export function readName<T>(text: string, parse: (text: string) => T): T {
  try {
    return parse(text);
  } catch (error) {
    throw new StowageError("INPUT_INVALID", messageOf(error), { cause: error });
  }
}
