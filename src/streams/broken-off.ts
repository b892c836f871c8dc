/** The error of a body that breaks off. */
import { StowageError, messageOf } from "../errors.ts";

/**
 * The error of a body that breaks off: each platform has another one. `what` names the body. An error of Stowage itself, such as
 * that of a limit, stays as it is.
 */
export function brokenOff(what: string, error: unknown, bytes: number): StowageError {
  if (error instanceof StowageError) return error;
  const message = `Cannot read on: the ${what} broke off after ${bytes} bytes (${messageOf(error)})`;
  return new StowageError("INTERRUPTED", message, { cause: error });
}
