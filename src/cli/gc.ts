/** `stowage gc`: deletes the blobs that no image needs. */
import { parseArgs } from "node:util";
import { StowageError } from "../errors.ts";
import { checkGrace, collectGarbage } from "../gc/collect-garbage.ts";
import type { Amount, GarbageReport } from "../gc/tally.ts";
import { parseDuration } from "../settings/parse-quantity.ts";
import { type Command, checkCount, exitCodes } from "./command.ts";
import { formatBytes, formatCount, printable } from "./format.ts";
import { openExisting } from "./open-settings.ts";

const defaultGrace = "24h";

export const gc: Command = {
  summary: "delete blobs that no image needs",
  help: `Usage: stowage gc [--store URL] [--grace TIME | --now] [OPTIONS]

Deletes what no image needs any more, in two runs: the first condemns a blob, one
after the grace time deletes it, unless an image needs it again by then. Loads, on
any machine, may go on meanwhile. Run it once a day, say. A referrer, such as a
signature, is removed in the same way when its subject is gone. What loads that were
killed have left under intents/ goes after an hour, and uploads that nobody finished,
under staging/, go after two days.

An image whose manifest is missing or damaged may need any blob: gc says so, changes
nothing and exits with 1, until the image is repaired ("stowage load --repair") or
removed. Where an index cannot be read, all that any manifest needs is kept, the rest
is dealt with, and gc exits with 1.

Options:
  --store URL   the store, default STOWAGE_STORE, else file:./data
  --grace TIME  such as 90m, 24h or 7d, at least 1h, default ${defaultGrace}
  --now         delete at once: only for a store that nobody else uses meanwhile,
                since a load that runs would lose blobs
  --force       go on in spite of damaged manifests: what they alone need is garbage
  --dry-run     change nothing, say what would be done now
  --json        print a report as JSON instead

Examples:
  stowage gc --dry-run
  stowage gc --store s3://my-bucket/images --grace 7d
`,
  async run(args, io) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        store: { type: "string" },
        grace: { type: "string" },
        now: { type: "boolean", default: false },
        force: { type: "boolean", default: false },
        "dry-run": { type: "boolean", default: false },
        json: { type: "boolean", default: false },
      },
      allowPositionals: true,
    });
    checkCount(positionals, 0, 0, "options only");
    const { now, force, grace = defaultGrace } = values;
    if (now && values.grace !== undefined) {
      throw new StowageError("INPUT_INVALID", "found --now and --grace, expected one of them");
    }
    const graceMs = parseGrace(grace);
    checkGrace(graceMs);
    const { layout } = await openExisting(io, values.store);
    const isDryRun = values["dry-run"];
    const report = await collectGarbage(layout, { graceMs, now, force, isDryRun, signal: io.signal });
    io.stdout.write(
      values.json
        ? `${JSON.stringify(report, undefined, 2)}\n`
        : describe(report, layout.store.url, isDryRun, now ? undefined : grace),
    );
    for (const problem of report.problems) io.stderr.write(printable(`stowage gc: ${problem}\n`));
    return report.undecided.blobs + report.problems.length === 0 ? exitCodes.ok : exitCodes.failed;
  },
};

function parseGrace(text: string): number {
  const graceMs = parseDuration(text);
  if (graceMs !== undefined && graceMs > 0) return graceMs; // `checkGrace` checks the minimum
  throw new StowageError(
    "INPUT_INVALID",
    `found --grace ${JSON.stringify(text)}, expected a time such as 90m, 24h or 7d`,
  );
}

/** The report as text. Without a `grace` nothing was condemned. */
function describe(report: GarbageReport, url: string, isDryRun: boolean, grace: string | undefined): string {
  const { condemned, freed, waiting, kept, untied, postponed, undecided, abandoned } = report;
  const verb = (word: string): string => (isDryRun ? `Would have ${word.toLowerCase()}` : word);
  const lines = [
    `${verb("Freed")} ${amount(freed)} in ${url}`,
    ...(grace === undefined
      ? []
      : [`${verb("Condemned")} ${amount(condemned)}: a run after ${grace} deletes what is not needed by then`]),
    ...some(waiting, `${amount(waiting)} condemned before: the grace time is not over`),
    ...some(kept, `${verb("Kept")} ${amount(kept)} condemned before: an image needs them again`),
    ...some(untied, `${verb("Removed")} ${formatCount(untied.blobs, "referrer")} whose subject is gone`),
    ...some(abandoned, `${verb("Deleted")} ${objects(abandoned)} of uploads that nobody has finished in two days`),
    ...some(postponed, `${amount(postponed)} more than one run deals with: run it again`),
    ...some(undecided, `${amount(undecided)} in doubt, the store did not answer: run it again in an hour`),
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
