/** The error of a change whose condition does not hold. */
import { StowageError } from "../errors.ts";
import type { Expectation } from "../oci/index-change.ts";
import { formatReference } from "../oci/reference.ts";

export interface FailedCondition {
  readonly repository: string;
  /** A tag or a digest. */
  readonly reference: string;
  /** The digest that is there, if there is one. */
  readonly found: string | undefined;
  readonly expects: Expectation | undefined;
}

export function conditionFailed({ repository, reference, found, expects }: FailedCondition): StowageError {
  const expected = expects === "absent" ? undefined : expects?.digest;
  const name = formatReference(repository, reference);
  const message = `Cannot change "${name}": found ${found ?? "nothing"} there, expected ${expected ?? "nothing"}`;
  return new StowageError("CONDITION_FAILED", message, { detail: { name: repository, reference, found, expected } });
}
