/** What the arguments of several commands have in common: what cannot be used is wrong usage, and exits with 2. */
import { StowageError, messageOf } from "../errors.ts";

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
