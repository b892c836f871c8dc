/** What a command of the command line is. */
import type { Environment } from "../settings.ts";

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
