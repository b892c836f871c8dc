/** The error of a commit that ends in doubt. */
import { StowageError, messageOf } from "../../errors.ts";

/** The changes were made whole, or will be, or not at all: nobody who was asked could tell. */
export function unknownOutcome(repository: string, cause?: unknown): StowageError {
  const why = cause === undefined ? "the store did not answer" : messageOf(cause);
  const message = `Cannot tell whether the changes of "${repository}" were made, they may yet be: ${why}; try again`;
  return new StowageError("STORE_UNAVAILABLE", message, { cause, detail: { name: repository } });
}
