/** The error of a body that breaks off. */
import { StowageError, messageOf } from "../errors.ts";

/**
 * The error of a body that breaks off. Each platform throws another error for that, so this one replaces them. `what`
 * names the body. An error of Stowage itself, such as that of a limit, is returned unchanged.
 */
export function brokenOff(what: string, error: unknown, bytes: number): StowageError {
  if (error instanceof StowageError) return error;
  const message = `Cannot read on: the ${what} broke off after ${bytes} bytes (${messageOf(error)})`;
  return new StowageError("INTERRUPTED", message, { cause: error });
}
