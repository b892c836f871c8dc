/** `stowage gc`: drops images by rules, and deletes the blobs that no image needs. */
import { parseArgs } from "node:util";
import { StowageError } from "../errors.ts";
import { checkGrace, collectGarbage } from "../gc/collect-garbage.ts";
import { type SliceReport, collectSlice } from "../gc/collect-slice.ts";
import type { Amount, GarbageReport } from "../gc/tally.ts";
import { type Verdict, describeVerdict } from "../gc/judge-entries.ts";
import type { RetentionRule } from "../settings/parse-retention.ts";
import { checkSettings, readListFile } from "../runtimes/list-file.ts";
import { parseDuration } from "../settings/parse-quantity.ts";
import { parseRetention } from "../settings/parse-retention.ts";
import { type Command, checkCount, exitCodes } from "./command.ts";
import { formatBytes, formatCount, printable } from "./format.ts";
import { type StoreSettings, openExisting } from "./open-settings.ts";

/**
 * Options that exclude each other. A run in slices cannot go on in spite of damage: it would have to remember the
 * damage.
 */
const exclusive = [
  ["now", "grace"],
  ["for", "now"],
  ["for", "force"],
  ["for", "dry-run"],
] as const;

export const gc: Command = {
  help: `Usage: stowage gc [--store URL] [--grace TIME | --now] [OPTIONS]

Drops images by your rules, such as those older than 30 days, and images whose end
("stowage load --expires") is over: docs/retention.md says how to write rules.

Deletes what no image needs any more, in two runs: the first condemns a blob, one
after the grace time deletes it, unless an image needs it again by then. Loads, on
any machine, may go on meanwhile. Run it once a day, say. A referrer, such as a
signature, is removed in the same way when its subject is gone. What loads that were
killed have left under intents/ goes after an hour, and uploads that nobody finished,
under staging/, go after two days.

An image whose manifest is missing or damaged may need any blob: gc says so, deletes
no blob and exits with 1, until the image is repaired ("stowage load --repair") or
removed. Where an index cannot be read, all that any manifest needs is kept, the rest
is dealt with, and gc exits with 1.

Options:
  --store URL   the store, default STOWAGE_STORE, else file:./data
  --grace TIME  such as 90m, 24h or 7d, at least 1h; default STOWAGE_GC_GRACE, or 24h
  --retention FILE
                a file of rules, a JSON list; default STOWAGE_RETENTION_FILE, else
                the list in STOWAGE_RETENTION
  --for TIME    stop after a time such as 10m; the next run with --for goes on there
  --now         delete at once: only for a store that nobody else uses meanwhile,
                since a load that runs would lose blobs
  --force       go on in spite of damaged manifests: what they alone need is garbage
  --dry-run     change nothing, say what would be done now, and which rule would keep
                or drop each image
  --json        print a report as JSON instead

Examples:
  stowage gc --dry-run
  stowage gc --store s3://my-bucket/images --grace 7d
  stowage gc --dry-run --retention rules.json
`,
  async run(args, io) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        store: { type: "string" },
        grace: { type: "string" },
        retention: { type: "string" },
        for: { type: "string" },
        now: { type: "boolean", default: false },
        force: { type: "boolean", default: false },
        "dry-run": { type: "boolean", default: false },
        json: { type: "boolean", default: false },
      },
      allowPositionals: true,
    });
    checkCount(positionals, 0, 0, "options only");
    const { now, force, "dry-run": isDryRun } = values;
    for (const [one, other] of exclusive) {
      if (!values[one] || !values[other]) continue;
      throw new StowageError("INPUT_INVALID", `found --${one} and --${other}, expected one of them`);
    }
    const maxMs = parseTime("--for", values.for);
    const givenMs = parseTime("--grace", values.grace);
    if (givenMs !== undefined) checkGrace(givenMs);
    const { layout, gcGraceSeconds, ...settings } = await openExisting(io, values.store);
    const retention = await readRules(values.retention, settings);
    const verdicts: Verdict[] = [];
    const onVerdict = (verdict: Verdict): void => void verdicts.push(verdict);
    const graceMs = givenMs ?? gcGraceSeconds * 1000;
    const grace = values.grace ?? `${gcGraceSeconds / 3600}h`;
    const { signal } = io;
    const report =
      maxMs === undefined
        ? await collectGarbage(layout, { graceMs, now, force, isDryRun, retention, onVerdict, signal })
        : await collectSlice(layout, { graceMs, everyMs: 0, maxMs, retention, onVerdict, signal });
    io.stdout.write(
      values.json
        ? `${JSON.stringify({ ...report, verdicts }, undefined, 2)}\n`
        : printable(describeVerdicts(verdicts, isDryRun)) +
            describe(report, layout.store.url, isDryRun, now ? undefined : grace),
    );
    for (const problem of report.problems) io.stderr.write(printable(`stowage gc: ${problem}\n`));
    return report.undecided.blobs + report.problems.length === 0 ? exitCodes.ok : exitCodes.failed;
  },
};

/** The rules of the option, else of the settings. Throws `INPUT_INVALID`. */
async function readRules(
  option: string | undefined,
  { retention, retentionFile }: Pick<StoreSettings, "retention" | "retentionFile">,
): Promise<readonly RetentionRule[]> {
  const path = option ?? retentionFile;
  if (path === undefined) return retention;
  const name = option === undefined ? "STOWAGE_RETENTION_FILE" : "--retention";
  const { entries, problems } = await readListFile({ name, path, parse: parseRetention });
  checkSettings(problems);
  return entries;
}

function describeVerdicts(verdicts: readonly Verdict[], isDryRun: boolean): string {
  const verb = isDryRun ? "Would have " : "";
  const lines = verdicts.map((verdict) => `${verb}${describeVerdict(verdict)}`);
  return lines.map((line) => `${line.charAt(0).toUpperCase()}${line.slice(1)}\n`).join("");
}

/** `checkGrace` checks the minimum of a grace time. */
function parseTime(name: string, text: string | undefined): number | undefined {
  const ms = text === undefined ? undefined : parseDuration(text);
  if (text === undefined || (ms !== undefined && ms > 0)) return ms;
  const message = `found ${name} ${JSON.stringify(text)}, expected a time such as 90m, 24h or 7d`;
  throw new StowageError("INPUT_INVALID", message);
}

/** The report as text. Without a `grace` nothing was condemned. */
function describe(
  report: GarbageReport | SliceReport,
  url: string,
  isDryRun: boolean,
  grace: string | undefined,
): string {
  const { condemned, freed, waiting, kept, removed, postponed, undecided, abandoned, dropped } = report;
  const isUnfinished = "state" in report && report.state === "unfinished";
  const verb = (word: string): string => (isDryRun ? `Would have ${word.toLowerCase()}` : word);
  const lines = [
    ...(dropped === 0 ? [] : [`${verb("Dropped")} ${formatCount(dropped, "image")} by rules and ends`]),
    `${verb("Freed")} ${amount(freed)} in ${url}`,
    ...(grace === undefined
      ? []
      : [`${verb("Condemned")} ${amount(condemned)}: a run after ${grace} deletes what is not needed by then`]),
    ...some(waiting, `${amount(waiting)} condemned before: the grace time is not over`),
    ...some(kept, `${verb("Kept")} ${amount(kept)} condemned before: an image needs them again`),
    ...some(removed, `${verb("Removed")} ${formatCount(removed.blobs, "referrer")} whose subject is gone`),
    ...some(abandoned, `${verb("Deleted")} ${objects(abandoned)} of uploads that nobody has finished in two days`),
    ...some(postponed, `${amount(postponed)} more than one run deals with: run it again`),
    ...some(undecided, `${amount(undecided)} in doubt, the store did not answer: run it again in an hour`),
    ...(isUnfinished ? ["The time is over: the next run with --for goes on here"] : []),
  ];
  return lines.map((line) => `${line}\n`).join("");
}

function amount({ blobs, bytes }: Amount): string {
  return `${formatCount(blobs, "blob")} (${formatBytes(bytes)})`;
}

function objects({ blobs, bytes }: Amount): string {
  return `${formatCount(blobs, "object")} (${formatBytes(bytes)})`;
}

function some({ blobs }: Amount, line: string): string[] {
  return blobs === 0 ? [] : [line];
}
