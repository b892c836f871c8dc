/** `stowage load`: a tarball into a store, or into a running service. */
import { parseArgs } from "node:util";
import { StowageError } from "../errors.ts";
import { loadArchive } from "../load/load-archive.ts";
import type { Receipt } from "../load/receipt.ts";
import { type ImageName, parseName } from "../oci/reference.ts";
import { ByteBudget } from "../streams/byte-budget.ts";
import { checkCount, readName } from "./arguments.ts";
import { type Command, type CommandIo, exitCodes } from "./command.ts";
import { describeReceipt } from "./describe-receipt.ts";
import { formatBytes, printable } from "./format.ts";
import { type OpenInput, openInput } from "./open-input.ts";
import { type Progress, startProgress } from "./progress.ts";
import { openSettings } from "./settings.ts";
import { serviceName, uploadArchive } from "./upload.ts";

export const load: Command = {
  summary: "load a tarball into a store or a service",
  help: `Usage: stowage load FILE|- [NAME[:TAG]] [--store URL | --to URL] [--json]

Loads the images of a tarball, an OCI layout or a docker-archive, plain or compressed
with gzip or zstd, from a file or, with "-", from standard input. They keep the names
that the tarball gives them, unless NAME and TAG say otherwise. Nothing is published
unless all of it is whole; blobs that are there already are not written again.

Options:
  --store URL   load into this store, default STOWAGE_STORE, else file:./data
  --to URL      load into a running service, such as http://127.0.0.1:8080
  --json        print the receipt as JSON instead of a summary

Progress goes to standard error: a bar on a terminal, some lines otherwise.

Examples:
  docker save team/app:1.4 | stowage load -
  stowage load app.tar team/app:1.4 --store s3://my-bucket/images
  stowage load app.tar.gz --to https://stowage.example
  stowage load app.tar --json | jq -r '.images[].digest'
`,
  async run(args, io) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { store: { type: "string" }, to: { type: "string" }, json: { type: "boolean" } },
      allowPositionals: true,
    });
    checkCount(positionals, { min: 1, max: 2, usage: "FILE|- [NAME[:TAG]]" });
    const [file = "", nameText] = positionals;
    const name = nameText === undefined ? undefined : readName(nameText, parseName);
    const target = await openTarget(values, io);

    const input = await openInput(file, io.stdin);
    const startedMs = Date.now();
    const receipt = await loadInput(input, { target, name, io });
    const seconds = (Date.now() - startedMs) / 1000;
    const { registry } = target;
    const text = values.json === true ? toJson(receipt) : printable(describeReceipt(receipt, { seconds, registry }));
    io.stdout.write(text);
    return exitCodes.ok;
  },
};

interface LoadRequest {
  readonly name: ImageName | undefined;
  readonly size: number | undefined;
  readonly signal: AbortSignal;
}

/** Where the images go. */
interface Target {
  readonly url: string;
  /** Host and port where they can be pulled from then, if they can. */
  readonly registry?: string;
  load(source: AsyncIterable<Uint8Array>, request: LoadRequest): Promise<Receipt>;
}

interface TargetOptions {
  readonly store?: string;
  readonly to?: string;
}

async function openTarget({ store: storeUrl, to }: TargetOptions, { env }: CommandIo): Promise<Target> {
  if (to === undefined) {
    const { store, limits } = await openSettings(env, storeUrl);
    const options = { store, limits, budget: new ByteBudget(limits.maxBufferBytes) };
    return { url: store.url, load: (source, request) => loadArchive(source, { ...options, ...request }) };
  }
  if (storeUrl !== undefined) {
    throw new StowageError("INPUT_INVALID", "found both --store and --to, expected one of them");
  }
  const service = parseServiceUrl(to);
  return {
    url: serviceName(service),
    ...(service.pathname === "/" && { registry: service.host }), // clients look for /v2/ at the root alone
    load: (source, request) => uploadArchive(source, { service, ...request }),
  };
}

function parseServiceUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol)) return url;
  throw new StowageError(
    "INPUT_INVALID",
    `Cannot use ${JSON.stringify(text)} as the service's URL: expected such as http://127.0.0.1:8080`,
  );
}

interface RunningLoad {
  readonly target: Target;
  readonly name: ImageName | undefined;
  readonly io: CommandIo;
}

async function loadInput(input: OpenInput, { target, name, io }: RunningLoad): Promise<Receipt> {
  const { size } = input;
  const length = size === undefined ? "" : ` (${formatBytes(size)})`;
  const progress = startProgress(io.stderr, {
    title: `Loading ${input.name}${length} into ${target.url}`,
    totalBytes: size,
  });
  try {
    return await target.load(watched(input.source, progress), { name, size, signal: io.signal });
  } finally {
    progress.stop();
    input.close();
  }
}

async function* watched(source: AsyncIterable<Uint8Array>, progress: Progress): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    yield chunk;
    progress.advance(chunk.length);
  }
  progress.finish();
}

function toJson(receipt: Receipt): string {
  return `${JSON.stringify(receipt, undefined, 2)}\n`;
}
