/** Tests that need something of their machine, a program or a server, say so here, and what becomes of them without it. */
import process from "node:process";
import { describe, it } from "vitest";
import { skippedTitle } from "./skipped-reporter.ts";

/** Where a machine must have everything, as in CI, a missing requirement is a failure. */
const everythingIsRequired = process.env["STOWAGE_TEST_REQUIRE"] === "all";

/**
 * `describe` for tests that need something of their machine. `missing` says for each thing that is not there why, such
 * as `skopeo is not on the PATH`; where it is empty, the tests run. Otherwise they are skipped, and the run ends with what
 * is missing (`skipped-reporter.ts`); or, with `STOWAGE_TEST_REQUIRE=all`, they fail.
 */
export function describeIfFound(title: string, missing: readonly string[], tests: () => void): void {
  if (missing.length === 0) {
    describe(title, tests);
  } else if (everythingIsRequired) {
    describe(title, () => {
      it("finds what it needs", () => {
        throw new Error(`Cannot run "${title}": ${missing.join("; ")}`);
      });
    });
  } else {
    describe(title, () => {
      it.skip(skippedTitle(missing), () => {});
    });
  }
}
