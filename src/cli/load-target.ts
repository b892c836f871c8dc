/** Where `stowage load` loads into: a store, by this process, or a service, which is asked or sent everything. */
import { StowageError } from "../errors.ts";
import { loadArchive } from "../load/load-archive.ts";
import type { Receipt } from "../load/receipt.ts";
import type { ImageName } from "../oci/reference.ts";
import { checkOneTarget } from "./arguments.ts";
import type { CommandIo } from "./command.ts";
import { formatBytes } from "./format.ts";
import type { OpenInput } from "./open-input.ts";
import { openSettings } from "./open-settings.ts";
import { type Progress, startProgress } from "./progress.ts";
import { sendArchive } from "./send/send-archive.ts";
import { openService } from "./send/service-client.ts";
import { watched } from "./watched.ts";

export interface LoadTarget {
  /** Host and port where the images can be pulled from then, if they can. */
  readonly registry?: string | undefined;
  load(input: OpenInput, name: ImageName | undefined): Promise<Receipt>;
}

export interface LoadTargetOptions {
  readonly store?: string;
  readonly to?: string;
  readonly direct?: boolean;
  readonly repair?: boolean;
}

/** The store or service that the options name, else the store of the settings. Throws `INPUT_INVALID`. */
export async function openLoadTarget(options: LoadTargetOptions, io: CommandIo): Promise<LoadTarget> {
  const { store, to, direct = false, repair = false } = options;
  if (to === undefined && direct) throw new StowageError("INPUT_INVALID", "found --direct, expected --to with it");
  checkOneTarget(options);
  return to === undefined ? storeTarget(store, repair, io) : serviceTarget(to, { direct, repair }, io);
}

async function storeTarget(storeUrl: string | undefined, repair: boolean, io: CommandIo): Promise<LoadTarget> {
  const { layout, immutableTags } = await openSettings(io.env, storeUrl);
  const options = { immutableTags, repair, signal: io.signal };
  const load = async (source: AsyncIterable<Uint8Array>, name: ImageName | undefined): Promise<Receipt> =>
    loadArchive(layout, source, { ...options, name });
  return {
    load: async (input, name) => inOnePass(input, { into: layout.store.url, io, load: (it) => load(it, name) }),
  };
}

function serviceTarget(
  url: string,
  { direct, repair }: { readonly direct: boolean; readonly repair: boolean },
  io: CommandIo,
): LoadTarget {
  const service = openService(url, { env: io.env, purpose: "load into" });
  const { registry, name: into } = service;
  if (!direct) return { registry, load: async (input, name) => sendArchive(input, { service, name, repair, io }) };
  const load = async (
    source: AsyncIterable<Uint8Array>,
    input: OpenInput,
    name: ImageName | undefined,
  ): Promise<Receipt> => {
    const answer = service.put({ source, size: input.size }, { name, repair, signal: io.signal });
    return service.readReceipt(await service.attempt(answer));
  };
  return { registry, load: async (input, name) => inOnePass(input, { into, io, load: (it) => load(it, input, name) }) };
}

interface OnePass {
  /** For messages. */
  readonly into: string;
  readonly io: CommandIo;
  readonly load: (source: AsyncIterable<Uint8Array>) => Promise<Receipt>;
}

/** The input goes by once, from its first byte to its last. */
async function inOnePass({ name, size, source }: OpenInput, { into, io, load }: OnePass): Promise<Receipt> {
  const length = size === undefined ? "" : ` (${formatBytes(size)})`;
  const progress = startProgress(io.stderr, { title: `Loading ${name}${length} into ${into}`, totalBytes: size });
  try {
    return await load(watchedToItsEnd(source, progress));
  } finally {
    progress.stop();
  }
}

async function* watchedToItsEnd(source: AsyncIterable<Uint8Array>, progress: Progress): AsyncGenerator<Uint8Array> {
  yield* watched(source, (bytes) => progress.advance(bytes));
  progress.finish();
}
