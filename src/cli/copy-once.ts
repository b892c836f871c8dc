/** One copy by `stowage copy`: opens both ends, copies the chosen images and prints a receipt. */
import { type CopyReceipt, copyImages, describeFailure } from "../copy/copy-images.ts";
import { type CopyPlan, planCopy } from "../copy/plan-copy.ts";
import { type SelectedImage, parseImagePattern, selectImages } from "../copy/select-images.ts";
import type { CopyMode } from "../copy/transfer-blobs.ts";
import { StowageError } from "../errors.ts";
import { type ImageName, parseImageName } from "../oci/reference.ts";
import { type CommandIo, exitCodes } from "./command.ts";
import { formatBytes, formatChange, formatCount, formatSeconds, printable } from "./format.ts";
import { type StoreSettings, openSettings } from "./open-settings.ts";
import { type OpenSource, openSource } from "./open-source.ts";
import { type Progress, startProgress } from "./progress.ts";

export interface Choices {
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

export async function copyOnce(choices: Choices, target: CopyTarget, io: CommandIo): Promise<number> {
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

/** Opens a store or a service. Loads only the code that it needs. */
export async function openTarget(to: string, io: CommandIo): Promise<CopyTarget> {
  if (!/^https?:/.test(to)) {
    const settings = await openSettings(io.env, to);
    return async (opened, plan, choices) => copyToStore(opened, plan, settings, choices, io);
  }
  const { openService } = await import("./send/service-client.ts");
  const { copyToService } = await import("./copy-to-service.ts");
  const service = openService(to, { ...io, purpose: "load into" });
  return async ({ source }, plan, { as, dryRun }) => {
    if (dryRun) throw new StowageError("INPUT_INVALID", "found --dry-run, expected a store as TO with it");
    return copyToService(source, plan, { service, as, io });
  };
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
