/** `stowage copy`: images of a store, a service or a registry into a store or a service. */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { CopyMode } from "../copy/transfer-blobs.ts";
import { StowageError } from "../errors.ts";
import { parsePlatform } from "../oci/descriptor.ts";
import { type ImageName, parseName } from "../oci/reference.ts";
import { parseDuration } from "../settings/parse-quantity.ts";
import { type Command, checkCount, readName } from "./command.ts";
import type { Choices } from "./copy-once.ts";
import { printable } from "./format.ts";
import { saveMemory } from "./save-memory.ts";

const usage = "FROM TO [PATTERN...]";

export const copy: Command = {
  help: `Usage: stowage copy ${usage} [OPTIONS]

Copies images, with their signatures, into TO. What TO has already is not copied
again. No index in TO names what is not there, whenever the copy ends: run it again,
and it goes on. Other images of TO stay. A tag that differs moves to FROM's image,
unless it is protected or somebody else moves it meanwhile.

FROM is a store (file:./data, s3://bucket/prefix), a service or a registry (https:),
or one image of a registry (docker://ghcr.io/acme/app:1). TO is a store or a service,
which gets what "stowage load --to" would send. The URL of a bucket may have its own
?endpoint=, ?region= and ?profile=.

PATTERN chooses images: team/app, team/app:1.4, "team/**:v*". * fits any text without
a slash, ** any text. Without a pattern, all images are copied.

Options:
  --as NAME[:TAG]    the name in TO; only for one image
  --latest N         of each repository, the N newest of the chosen tags: those that
                     changed last in a store, the highest versions of a registry
  --platform P       only this platform of an index, such as linux/arm64; repeatable
  --no-referrers     without signatures, attestations and bills of materials
  --copy MODE        auto: the store copies if it can, else the bytes pass through
                     here; server: the store must copy; stream: all passes through
  --verify           read and hash every blob that the store has copied
  --concurrency N    blobs on their way at once, default 16
  --dry-run          tell what would be copied
  --watch TIME       copy again and again, with a pause such as 10m, at most 24h;
                     after the first copy, an error does not end the command
  --json             print a receipt as JSON

A service gets STOWAGE_TOKEN if it asks for a token, or the token in its URL. A
registry gets what "docker login" has kept. One image that fails does not stop the
others; the exit code is 1 then.

Examples:
  stowage copy s3://eu/images "s3://us/images?region=us-east-1" "team/**:v*"
  stowage copy docker://ghcr.io/acme/app:1 s3://my-bucket/images --as team/app:1
  stowage copy https://stowage.example file:./data --latest 3 --watch 10m
`,
  async run(args, io) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        as: { type: "string" },
        latest: { type: "string" },
        platform: { type: "string", multiple: true, default: [] },
        "no-referrers": { type: "boolean", default: false },
        copy: { type: "string", default: "auto" },
        verify: { type: "boolean", default: false },
        concurrency: { type: "string" },
        "dry-run": { type: "boolean", default: false },
        watch: { type: "string" },
        json: { type: "boolean", default: false },
      },
      allowPositionals: true,
    });
    checkCount(positionals, 2, Number.POSITIVE_INFINITY, usage);
    const [from = "", to = "", ...patterns] = positionals;
    const choices: Choices = {
      from,
      patterns,
      as: values.as === undefined ? undefined : readName(values.as, parseNewName),
      latest: countOf("--latest", values.latest),
      platforms: values.platform.map(parsePlatform),
      referrers: !values["no-referrers"],
      mode: modeOf(values.copy),
      verify: values.verify,
      concurrency: countOf("--concurrency", values.concurrency),
      dryRun: values["dry-run"],
      json: values.json,
    };
    const isByStore = [from, to].every((url) => url.startsWith("s3:")) && choices.mode !== "stream";
    if (isByStore) saveMemory();
    const { copyOnce, openTarget } = await import("./copy-once.ts");
    const target = await openTarget(to, io);
    const pauseMs = values.watch === undefined ? undefined : pauseOf(values.watch);
    const code = await copyOnce(choices, target, io);
    if (pauseMs === undefined) return code;
    for (;;) {
      await sleep(pauseMs, undefined, { signal: io.signal }).catch(() => io.signal.throwIfAborted());
      await copyOnce(choices, target, io).catch((error: unknown) => {
        io.signal.throwIfAborted();
        if (!(error instanceof StowageError)) throw error;
        io.stderr.write(printable(`stowage copy: ${error.code}: ${error.message}\n`)); // the next copy may succeed
      });
    }
  },
};

/** A digest says which image to copy. It cannot be the copy's name. */
function parseNewName(text: string): ImageName {
  const name = parseName(text);
  if (name.digest === undefined) return name;
  throw new StowageError(
    "NAME_INVALID",
    `Cannot use ${JSON.stringify(text)} as a name: found a digest, expected NAME[:TAG]`,
  );
}

function modeOf(text: string): CopyMode {
  if (text === "auto" || text === "server" || text === "stream") return text;
  throw new StowageError("INPUT_INVALID", `found --copy ${JSON.stringify(text)}, expected auto, server or stream`);
}

function countOf(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9]\d{0,4}$/.test(text)) return Number(text);
  throw new StowageError("INPUT_INVALID", `found ${option} ${JSON.stringify(text)}, expected a number from 1 to 99999`);
}

/** A timer waits no longer. */
const maxPauseMs = 24 * 60 * 60 * 1000;

function pauseOf(text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined && ms > 0 && ms <= maxPauseMs) return ms;
  throw new StowageError(
    "INPUT_INVALID",
    `found --watch ${JSON.stringify(text)}, expected a time up to 24h, such as 10m`,
  );
}
