/** What a command of the command line is. */
import { messageOf, StowageError } from "../errors.ts";
import type { Environment } from "../settings/settings.ts";

export interface Command {
  /** One line for the list of commands. */
  readonly summary: string;
  /** What `stowage COMMAND --help` prints: usage, options, examples. */
  readonly help: string;
  /** Runs with the arguments that follow the command's name; returns the exit code. Throws what has to be reported. */
  run(args: readonly string[], io: CommandIo): Promise<number>;
}

/** The process around a command. */
export interface CommandIo {
  readonly env: Environment;
  readonly stdin: Input;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Fires on SIGINT and SIGTERM: the command ends what it began, and cleans up. */
  readonly signal: AbortSignal;
}

export interface Input extends AsyncIterable<Uint8Array> {
  readonly isTTY?: boolean;
  /** Lets go of it: a pipe that is still open would keep the process alive. */
  destroy(): unknown;
}

export interface Output extends NodeJS.WritableStream {
  readonly isTTY?: boolean;
  /** Of a terminal, how many characters fit into a line. */
  readonly columns?: number;
}

/** Exit codes, the same for each command. */
export const exitCodes = {
  ok: 0,
  /** It could not be done, or something is wrong with what is there. */
  failed: 1,
  /** The arguments or the settings cannot be used. */
  usage: 2,
  /** 128 and the number of the signal. */
  interrupted: 130,
  terminated: 143,
} as const;

// What the arguments of several commands have in common: what cannot be used is wrong usage, and exits with 2.

export interface ExpectedCount {
  readonly min: number;
  readonly max: number;
  /** What is expected, as in the usage line. */
  readonly usage: string;
}

/** Checks how many arguments there are besides the options. Throws `INPUT_INVALID`. */
export function checkCount(positionals: readonly string[], { min, max, usage }: ExpectedCount): void {
  const found = positionals.length;
  if (found >= min && found <= max) return;
  const list = positionals.map((text) => JSON.stringify(text)).join(" ");
  throw new StowageError("INPUT_INVALID", `found ${found === 0 ? "no arguments" : list}, expected ${usage}`);
}

/** Checks that a command is told of a store or of a service, or of neither. Throws `INPUT_INVALID`. */
export function checkOneTarget({ store, to }: { readonly store?: string; readonly to?: string }): void {
  if (store === undefined || to === undefined) return;
  throw new StowageError("INPUT_INVALID", "found both --store and --to, expected one of them");
}

/** Reads a name from the command line: a bad one is wrong usage, unlike a bad name inside an archive. */
export function readName<T>(text: string, parse: (text: string) => T): T {
  try {
    return parse(text);
  } catch (error) {
    throw new StowageError("INPUT_INVALID", messageOf(error), { cause: error });
  }
}
