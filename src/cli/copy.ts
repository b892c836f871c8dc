/** `stowage copy`: images of a store, a service or a registry into a store or a service. */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { StowageError } from "../errors.ts";
import { type CopyReceipt, copyImages, describeFailure } from "../copy/copy-images.ts";
import { type CopyPlan, planCopy } from "../copy/plan-copy.ts";
import { type SelectedImage, parseImagePattern, selectImages } from "../copy/select-images.ts";
import type { CopyMode } from "../copy/transfer-blobs.ts";
import { parsePlatform } from "../oci/descriptor.ts";
import { type ImageName, parseImageName, parseName } from "../oci/reference.ts";
import { parseDuration } from "../settings/parse-quantity.ts";
import { type Command, type CommandIo, checkCount, exitCodes, readName } from "./command.ts";
import { copyToService } from "./copy-to-service.ts";
import { formatBytes, formatChange, formatCount, formatSeconds, printable } from "./format.ts";
import { type StoreSettings, openSettings } from "./open-settings.ts";
import { type OpenSource, openSource } from "./open-source.ts";
import { type Progress, startProgress } from "./progress.ts";
import { saveMemory } from "./save-memory.ts";
import { openService } from "./send/service-client.ts";

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

interface Choices {
  readonly from: string;
  readonly patterns: readonly string[];
  readonly as: ImageName | undefined;
  readonly latest: number | undefined;
  readonly platforms: readonly string[];
  readonly referrers: boolean;
  readonly mode: CopyMode;
  readonly verify: boolean;
  readonly concurrency: number | undefined;
  readonly dryRun: boolean;
  readonly json: boolean;
}

async function copyOnce(choices: Choices, target: CopyTarget, io: CommandIo): Promise<number> {
  const startedMs = Date.now();
  const opened = await openSource(choices.from, io);
  const selected = await select(opened, choices, io);
  const { platforms, referrers } = choices;
  const plan = await planCopy(opened.source, selected, { platforms, referrers, signal: io.signal });
  const receipt = await target(opened, plan, withAddress(choices));
  const seconds = (Date.now() - startedMs) / 1000;
  io.stdout.write(
    choices.json
      ? `${JSON.stringify(toJson(receipt), undefined, 2)}\n`
      : printable(describe(receipt, choices, seconds)),
  );
  for (const failure of receipt.failures) io.stderr.write(printable(`stowage copy: ${describeFailure(failure)}\n`));
  return receipt.failures.length === 0 ? exitCodes.ok : exitCodes.failed;
}

/** `docker://` names one image. Without a tag, the tag is `latest`, as with every client. */
async function select(
  { source, image }: OpenSource,
  choices: Choices,
  { signal }: CommandIo,
): Promise<readonly SelectedImage[]> {
  const { patterns, latest, referrers, as } = choices;
  if (image !== undefined && patterns.length > 0) {
    throw new StowageError("INPUT_INVALID", "found a pattern beside docker://, expected one of them");
  }
  const own = image && { repository: image.repository, reference: image.digest ?? image.tag ?? "latest" };
  const wanted = own === undefined ? patterns.map(parseImagePattern) : [own];
  const selected = await selectImages(source, { patterns: wanted, latest, referrers, signal });
  if (as === undefined || selected.length === 1) return selected;
  throw new StowageError("INPUT_INVALID", `found ${selected.length} images, expected one with --as`);
}

/** Copies planned images. */
type CopyTarget = (opened: OpenSource, plan: CopyPlan, choices: Choices) => Promise<CopyReceipt>;

async function copyToStore(
  { source, layout }: OpenSource,
  plan: CopyPlan,
  { layout: target, immutableTags }: StoreSettings,
  choices: Choices,
  { stderr, signal }: CommandIo,
): Promise<CopyReceipt> {
  const { as, mode, verify, concurrency, dryRun } = choices;
  let progress: Progress | undefined;
  try {
    return await copyImages(source, target, plan, {
      as,
      mode,
      verify,
      concurrency,
      dryRun,
      immutableTags,
      sourceStore: layout?.store,
      signal,
      onPlan: ({ total, present }) => {
        const missing = total.bytes - present.bytes;
        const title = `Copying ${formatBytes(missing)} of ${formatBytes(total.bytes)} from ${source.name} into ${target.store.url}`;
        if (!dryRun) progress = startProgress(stderr, { title, totalBytes: missing });
      },
      onBytes: (bytes) => progress?.advance(bytes),
    });
  } finally {
    progress?.stop();
  }
}

/** An image of a registry gets its name with the registry's host, unless that is Docker Hub. */
function withAddress(choices: Choices): Choices {
  const { from, as } = choices;
  if (as !== undefined || !from.startsWith("docker://")) return choices;
  return { ...choices, as: parseImageName(from.slice("docker://".length)) };
}

/** Opens a store or a service. */
async function openTarget(to: string, io: CommandIo): Promise<CopyTarget> {
  if (!/^https?:/.test(to)) {
    const settings = await openSettings(io.env, to);
    return async (opened, plan, choices) => copyToStore(opened, plan, settings, choices, io);
  }
  const service = openService(to, { ...io, purpose: "load into" });
  return async ({ source }, plan, { as, dryRun }) => {
    if (dryRun) throw new StowageError("INPUT_INVALID", "found --dry-run, expected a store as TO with it");
    return copyToService(source, plan, { service, as, io });
  };
}

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

function toJson({ images, failures, blobs }: CopyReceipt): object {
  const failed = failures.map(({ repository, reference, error: { code, message } }) => ({
    repository,
    reference,
    code,
    message,
  }));
  return { images, failures: failed, blobs };
}

/** Images that the summary names. */
const maxShown = 100;

function describe({ images, failures, blobs }: CopyReceipt, { dryRun }: Choices, seconds: number): string {
  const changed = images.filter(({ status }) => status !== "unchanged");
  const lines = changed.slice(0, maxShown).map((image) => formatChange(image));
  if (changed.length > maxShown) lines.push(`… and ${changed.length - maxShown} more`);
  const { total, present, copied } = blobs;
  const moved = dryRun ? { blobs: total.blobs - present.blobs, bytes: total.bytes - present.bytes } : copied;
  const failed = failures.length === 0 ? "" : `, ${formatCount(failures.length, "image")} failed`;
  const verb = dryRun ? "Would copy" : "Copied";
  return [
    ...lines,
    `${verb} ${formatCount(changed.length, "image")}, ${images.length - changed.length} unchanged${failed}: ` +
      `${formatCount(moved.blobs, "blob")} with ${formatBytes(moved.bytes)}, ${formatBytes(present.bytes)} there already, ` +
      `in ${formatSeconds(seconds)}`,
    "",
  ].join("\n");
}
