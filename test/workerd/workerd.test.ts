/** The suites beside this file, as they went inside workerd: each of their tests shows as one here. */
import { describe, expect, it } from "vitest";
import { findS3Server } from "../servers/s3-servers.ts";
import { describeIfFound } from "../support/requirement.ts";
import { type SuiteTest, findNode, runSuites } from "./run-suites.ts";

const node = findNode();
const s3Server = await findS3Server("versitygw");
const missingNode = node === undefined ? ["there is no Node of version 22 or later (see test/tools/install.sh)"] : [];
const missingServer = typeof s3Server === "string" ? [s3Server] : [];
const { tests, failures } =
  node === undefined
    ? { tests: [], failures: [] }
    : await runSuites(node, typeof s3Server === "string" ? undefined : s3Server);

describeIfFound("workerd", missingNode, () => {
  it("runs every suite to its end", () => {
    expect(failures).toEqual([]);
    expect(tests.length).toBeGreaterThan(0);
  });

  declare(tests, 0);
});

if (missingServer.length > 0) describeIfFound("S3Store in workerd", missingServer, () => undefined);

/** A `describe` for each of theirs, in their order. */
function declare(all: readonly SuiteTest[], level: number): void {
  const titles = new Set(all.map(({ ancestorTitles }) => ancestorTitles[level]));
  for (const title of titles) {
    const inside = all.filter(({ ancestorTitles }) => ancestorTitles[level] === title);
    if (title === undefined) inside.forEach(declareTest);
    else describe(title, () => declare(inside, level + 1));
  }
}

function declareTest({ title, status, failureMessages }: SuiteTest): void {
  if (status === "passed" || status === "failed") {
    it(title, () => {
      if (status === "failed") throw new Error(failureMessages.join("\n"));
    });
  } else {
    it.skip(title, () => undefined);
  }
}
