/** A reporter of vitest that says in one line, after all others, what a run has left out and how to get it. */
import process from "node:process";
import type { Reporter, TestModule } from "vitest/node";

export interface SkippedReporterOptions {
  /** How many test files the configuration leaves out. */
  readonly leftOut: number;
}

export class SkippedReporter implements Reporter {
  readonly #options: SkippedReporterOptions;

  constructor(options: SkippedReporterOptions) {
    this.#options = options;
  }

  onTestRunEnd(modules: readonly TestModule[]): void {
    const skipped = modules.flatMap(({ children }) => [...children.allTests("skipped")]);
    const titles = skipped.map(({ name }) => name);
    const line = describeSkipped(titles, this.#options);
    if (line !== undefined) process.stdout.write(`${line}\n`);
  }
}

const prefix = "lacks ";

/** The title of the test that stands for those that are skipped, since the machine lacks something. */
export function skippedTitle(missing: readonly string[]): string {
  return prefix + missing.join("; ");
}

/** The line, for the titles of all skipped tests. Undefined if nothing was left out. */
export function describeSkipped(titles: readonly string[], { leftOut }: SkippedReporterOptions): string | undefined {
  const groups = titles.filter((title) => title.startsWith(prefix));
  const missing = [...new Set(groups.flatMap((title) => title.slice(prefix.length).split("; ").flatMap(programsIn)))];
  const parts = [
    ...(leftOut > 0 ? [`${leftOut} files of tests that take longer (npm run test:all)`] : []),
    ...(groups.length > 0
      ? [
          `${groups.length} groups of tests that lack ${missing.toSorted().join(", ")} (test/tools/install.sh, ${others})`,
        ]
      : []),
  ];
  return parts.length === 0 ? undefined : `Skipped ${parts.join(", and ")}`;
}

const others = "test/servers/install.sh, test/infra/install.sh";

/** `not on the PATH: bun, deno (see …)`, `weed is neither on …`, `there is no /a/dockerd …`; any other reason is whole. */
function programsIn(reason: string): string[] {
  const [, list] = /^not on the PATH: ([^(]+)/.exec(reason) ?? [];
  if (list !== undefined) return list.split(",").map((name) => name.trim());
  const [, program] =
    /^(\S+) is neither on the PATH/.exec(reason) ?? /^there is no (?:\S*\/)?([^/\s:]+)/.exec(reason) ?? [];
  return [program ?? reason];
}
