/** Runs the distribution specification's own conformance suite against a registry, and reads the report that it prints. */
import { newFolder } from "../support/run-stowage.ts";
import { runShell } from "../tools/run-tool.ts";

/** The repository that the suite works in. */
export const repository = "conformance/a";

/** A part of the suite that has none of its own: one request, mostly, and what was to be seen of its answer. */
export interface SuiteTest {
  /** Such as `image/pull/blob-get`. Several may have the same. */
  readonly name: string;
  readonly status: string;
  /** What was wrong. */
  readonly message: string;
}

export interface SuiteReport {
  readonly tests: readonly SuiteTest[];
  /** How many have each status, such as `FAIL`, by the suite's own count. */
  readonly counts: Readonly<Record<string, number>>;
}

/** By the names of the suite's own variables, without `OCI_` in front. */
export type Settings = Readonly<Record<string, string | boolean>>;

/** Throws with what the suite printed if it gives no report. */
export async function runSuite(registry: string, settings: Settings): Promise<SuiteReport> {
  const common = { REGISTRY: new URL(registry).host, TLS: "disabled", VERSION: "1.1", REPO1: repository };
  const all: Settings = { ...common, ...settings };
  const env = Object.fromEntries(Object.entries(all).map(([name, value]) => [`OCI_${name}`, String(value)]));
  // It fails where a test does, and crashes after the report where nothing may be pushed: the report tells.
  const output = await runShell("conformance 2>&1 || true", { cwd: await newFolder(), env });
  const report = /^Test results\n([^]*)\nConfiguration:\n[^]*\nOCI Conformance Result: .*\n([^]*)\nAPI conformance:\n/m;
  const [, tree, counts] = report.exec(output) ?? [];
  if (tree === undefined || counts === undefined) throw new Error(`Cannot read the suite's report:\n${output}`);
  return { tests: readTests(tree), counts: readCounts(counts) };
}

/** Each line is a test, indented below the one that it is a part of; what was wrong follows. */
function readTests(tree: string): SuiteTest[] {
  const tests = tree
    .split(/^ *OCI Conformance Test\/?/m)
    .slice(1)
    .map((text) => {
      const [, name = "", status = "", message = ""] = /^(.*): (\w+)\n([^]*)$/.exec(text) ?? [];
      return { name, status, message: message.trim() };
    });
  return tests.filter(({ name }) => name !== "" && !tests.some((other) => other.name.startsWith(`${name}/`)));
}

/** Such as `  FAIL..........................:          0`. */
function readCounts(lines: string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const [, status = "", count] of lines.matchAll(/^ +(\w+)\.+: +(\d+)$/gm)) counts[status] = Number(count);
  return counts;
}
