/** `stowage verify`: reads every byte of a store and reports all damage. */
import { parseArgs } from "node:util";
import type { Layout } from "../layout/layout.ts";
import type { LackedBlob, Problem } from "../verify/verify-blobs.ts";
import { type VerifyReport, verifyStore } from "../verify/verify-store.ts";
import { type Command, type CommandIo, checkCount, exitCodes } from "./command.ts";
import { formatBytes, formatCount, printable } from "./format.ts";
import { openExisting } from "./open-settings.ts";
import { type Progress, startProgress } from "./progress.ts";

export const verify: Command = {
  help: `Usage: stowage verify [--store URL] [--json]

Reads every blob of a store and compares its bytes with its digest, then checks that
each index can be read and that each image has everything that it needs. Changes
nothing. Prints a line for each problem, then each missing or damaged blob with the
images that need it, and how to repair them; exits with 1 if there is any problem.

Options:
  --store URL   the store, default STOWAGE_STORE, else file:./data
  --json        print a report as JSON instead

Examples:
  stowage verify
  stowage verify --store s3://my-bucket/images
  stowage verify --json | jq -r '.problems[].where'
`,
  async run(args, io) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { store: { type: "string" }, json: { type: "boolean" } },
      allowPositionals: true,
    });
    checkCount(positionals, 0, 0, "options only");
    const { layout } = await openExisting(io, values.store);
    const asJson = values.json === true;
    const report = await verifyWithProgress(layout, io, asJson ? undefined : printProblem);
    io.stdout.write(asJson ? `${JSON.stringify(report, undefined, 2)}\n` : summary(report, layout.store.url));
    return report.problems.length === 0 ? exitCodes.ok : exitCodes.failed;
  },
};

/** Prints problems when they are found: reading everything can take hours. */
async function verifyWithProgress(
  layout: Layout,
  { stdout, stderr, signal }: CommandIo,
  print: ((problem: Problem) => string) | undefined,
): Promise<VerifyReport> {
  let progress: Progress | undefined;
  try {
    return await verifyStore(layout, {
      signal,
      onStart(totalBytes) {
        const title = `Verifying ${layout.store.url} (${formatBytes(totalBytes)})`;
        progress = startProgress(stderr, { title, totalBytes });
      },
      onBytes: (bytes) => progress?.advance(bytes),
      onProblem(problem) {
        if (print !== undefined) progress?.hideDuring(() => stdout.write(print(problem)));
      },
    });
  } finally {
    progress?.stop();
  }
}

function printProblem({ where, message }: Problem): string {
  return printable(`${where}: ${message.replaceAll("\n", " ")}\n`);
}

/** Images that are named for one blob. */
const maxNamedImages = 10;

function describeLacked({ digest, state, images }: LackedBlob): string {
  const named = images.slice(0, maxNamedImages).join(", ");
  const more = images.length > maxNamedImages ? ` and ${images.length - maxNamedImages} more` : "";
  return `${digest} is ${state}: ${named}${more} ${images.length === 1 ? "needs" : "need"} it`;
}

function summary({ repositories, images, blobs, bytes, unused, problems, lacked }: VerifyReport, url: string): string {
  const whole = `${formatCount(blobs, "blob")} (${formatBytes(bytes)})`;
  const named = `${formatCount(images, "image")} in ${formatCount(repositories, "repository", "repositories")}`;
  const lines = [
    problems.length === 0
      ? `All is well in ${url}: ${named}, ${whole}`
      : `Found ${formatCount(problems.length, "problem")} in ${url}: checked ${named}; ${whole} whole`,
  ];
  if (unused !== undefined && unused.blobs > 0) {
    lines.push(
      `${formatCount(unused.blobs, "blob")} (${formatBytes(unused.bytes)}) belong to no image: no problem, but space`,
    );
  }
  if (lacked.length > 0) {
    lines.push(...lacked.map(describeLacked));
    lines.push(`To repair them load a tarball of these images: stowage load --repair FILE --store ${url}`);
  }
  if (problems.some(({ where, code }) => where.endsWith("index.json") && code === "STORE_DAMAGED")) {
    lines.push(
      "An index that cannot be read hides its images: put back a copy of it, or delete it and load them again",
    );
  }
  return printable(`${lines.join("\n")}\n`);
}
