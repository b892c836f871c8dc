/**
 * A load, from the first byte of a tarball to the receipt. Blobs go into the store as they stream by; only when all are
 * there, and all that they name, are the images published. What fails before that publishes nothing.
 */
import { setMaxListeners } from "node:events";
import type { Meter } from "../archive/decompress.ts";
import { messageOf, StowageError } from "../errors.ts";
import { RescuingStore } from "../layout/condemned.ts";
import type { Layout } from "../layout/layout.ts";
import type { Limits } from "../limits.ts";
import { ParsedJson } from "../layout/parsed-json.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Expectation } from "../oci/index-change.ts";
import { type ImageName, formatName, parseName } from "../oci/reference.ts";
import type { TagPattern } from "../oci/tag-pattern.ts";
import { CountingStore } from "../storage/counting-store.ts";
import type { ByteBudget } from "../streams/byte-budget.ts";
import type { Release } from "../streams/line.ts";
import { WatchedSource } from "../streams/watched-source.ts";
import { BlobIntake } from "./blob-intake.ts";
import { type ContentEncoding, checkBodyBytes, decodeContent } from "./decode-content.ts";
import type { DockerFiles } from "./docker-files.ts";
import { makeDockerImages } from "./docker-images.ts";
import { type DockerNames, dockerNamesIn, namesBlobs, readDockerManifest } from "./docker-names.ts";
import { imageRootsOf } from "./image-roots.ts";
import { type PublishOptions, publishImages } from "./publish-images.ts";
import { type IgnoredEntry, type Receipt, maxIgnoredEntries } from "./receipt.ts";
import { parseRoots, takeEntries } from "./take-entries.ts";

/** How an archive is loaded. */
export interface LoadOptions {
  /**
   * What the image is to be called, whatever the tarball says: `team/app` sets the repository, `team/app:1.4` the tag too.
   * The tarball must then hold one image; with `team/app@sha256:…` it must have this digest. Without a name images keep their
   * own names.
   */
  readonly name?: string | ImageName | undefined;
  /** What the tag has to be at before it moves, else nothing is published; for a `name` that has a tag. */
  readonly expects?: Expectation | undefined;
  /** Tags that may be made, and then never move: `[{ repository: "team/**", tag: "v*" }]`. */
  readonly immutableTags?: readonly TagPattern[] | undefined;
  /** Whom the load counts for. Callers get equal shares of memory while several want some. Without it: one name for all. */
  readonly caller?: string | undefined;
  /** May whoever loads publish in this repository? Without it they may in all. */
  readonly mayPublish?: ((repository: string) => boolean) | undefined;
  /**
   * Reads every blob of the archive that the store has, and writes those again that are damaged (`repaired`). Without it a
   * load tells damage by the size alone, and of manifests by the bytes.
   */
  readonly repair?: boolean | undefined;
  /** What the source is encoded with, whatever the archive itself is compressed with (HTTP's Content-Encoding). */
  readonly contentEncoding?: ContentEncoding | undefined;
  /**
   * Ends the load: it rejects with the signal's reason once everything that it began is cleaned up. A source that is silent
   * then cannot be told so before it yields again: whoever made it closes it.
   */
  readonly signal?: AbortSignal | undefined;
}

/** A load under way: every choice made, and a signal that also fires when a part of it fails. */
interface RunningLoad extends Omit<PublishOptions, "known" | "index" | "dockerNames" | "storeBlob"> {
  readonly store: RescuingStore;
  readonly budget: ByteBudget;
  readonly contentEncoding: ContentEncoding;
  readonly repair: boolean;
  /** Counts the bytes of the source. */
  readonly received: Meter;
}

/**
 * Loads an OCI image layout (image specification, "Image Layout") or a docker-archive, as `podman save` and older versions
 * of `docker save` write it, that comes as a tarball, plain or compressed with gzip or zstd, in one pass. The source is
 * anything that yields bytes: a stream of Node's, a web stream such as the body that `fetch` answers with, a generator. It is
 * read no faster than the store takes it, and left early if the load fails. Chunks are kept: their memory must not be used
 * again. A source that falls silent keeps its share of memory: end it by `signal`.
 *
 * Nothing is published unless all of it is whole. Otherwise it throws a `StowageError`: `ARCHIVE_INVALID`, `INDEX_INVALID`,
 * `MANIFEST_INVALID`, `MANIFEST_BLOB_UNKNOWN`, `DIGEST_INVALID`, `SIZE_INVALID`, `NAME_INVALID` or `UNSUPPORTED` for what is
 * wrong with the archive or its names, `INPUT_INVALID` for a source of anything but bytes, `INTERRUPTED` for one that
 * throws, `LIMIT_EXCEEDED`, `DENIED`, `TAG_IMMUTABLE`, `CONDITION_FAILED`, `COMMIT_CONFLICT`, and `STORE_UNAVAILABLE` or
 * `STORE_DAMAGED` for the store.
 */
export async function loadArchive(
  layout: Layout,
  source: AsyncIterable<Uint8Array>,
  options: LoadOptions = {},
): Promise<Receipt> {
  const failed = new AbortController(); // a blob that cannot be stored ends the reading at once
  const signal = options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
  setMaxListeners(0, signal); // each request under way listens to it
  const { limits, budget, clock } = layout;
  const { caller } = options;
  const received = watchLoad(source, limits, signal);
  const counted = new CountingStore(layout.store);
  const store = new RescuingStore(counted, { clock });
  const load: RunningLoad = {
    layout: layout.through(store),
    store,
    ...checkName(options),
    immutableTags: options.immutableTags ?? [],
    mayPublish: options.mayPublish,
    contentEncoding: options.contentEncoding ?? "identity",
    repair: options.repair ?? false,
    limits,
    budget,
    caller,
    signal,
    parsed: new ParsedJson({ limits, budget, caller, signal }),
    received,
  };
  const intake = new BlobIntake(load, (error) => failed.abort(error));
  let archive: StoredArchive;
  try {
    archive = await storeArchive(received, intake, load);
  } catch (error) {
    failed.abort(error);
    load.parsed.end();
    await intake.settled().catch(() => undefined); // told to end for the same reason
    throw error;
  }
  const { roots, index, dockerNames } = archive;
  const publishing = { ...load, known: intake, index, dockerNames, storeBlob: storeBlobIn(intake) };
  const images = await publishImages(roots, publishing).finally(() => load.parsed.end());
  const blobs = intake.receipts();
  return {
    images,
    blobs,
    ignored: archive.ignored,
    bytes: {
      received: load.received.bytes,
      written: blobs.reduce((sum, { size, status }) => sum + (status === "present" ? 0 : size), 0),
      skipped: blobs.reduce((sum, { size, status }) => sum + (status === "present" ? size : 0), 0),
    },
    requests: counted.requests,
  };
}

/** The name is checked also where it comes in pieces: it becomes part of a key. */
export function checkName({
  name: given,
  expects,
}: Pick<LoadOptions, "name" | "expects">): Pick<RunningLoad, "name" | "expects"> {
  const name = given === undefined ? undefined : parseName(typeof given === "string" ? given : formatName(given));
  if (expects === undefined || name?.tag !== undefined) return { name, expects };
  const found = name === undefined ? "no name" : `"${formatName(name)}"`;
  const message = `Cannot hold the load to a condition: found ${found}, expected a name with a tag, such as team/app:1.4`;
  throw new StowageError("INPUT_INVALID", message);
}

/** An archive of which everything is in the store, and nothing published. */
interface StoredArchive extends Pick<PublishOptions, "index" | "dockerNames"> {
  readonly roots: readonly Descriptor[];
  readonly ignored: readonly IgnoredEntry[];
}

async function storeArchive(
  source: AsyncIterable<Uint8Array>,
  intake: BlobIntake,
  load: RunningLoad,
): Promise<StoredArchive> {
  const { limits, budget, caller, signal, received } = load;
  let isHeld = false;
  const holdWindow = async (bytes: number): Promise<Release> => {
    if (isHeld) throw twoWindows(); // to wait for a second with the first in its hands could be to wait for good
    isHeld = true;
    return budget.takeLasting(bytes, { caller, signal });
  };
  const content = decodeContent(source, load.contentEncoding, { ...limits, holdWindow, received });
  const contents = await takeEntries(content, intake, { ...limits, holdWindow, received });
  await intake.settled();
  const { index, isLayout, dockerFiles, ignored } = contents;
  if (index !== undefined) {
    const { names: dockerNames, isOfFiles } = await readBeside(dockerFiles, load);
    if (isLayout || !isOfFiles) {
      await load.parsed.keep(index.length);
      const listed = await load.parsed.parse(index.length, () => parseRoots(index));
      const images = await imageRootsOf(listed, { ...load, known: intake });
      return {
        roots: images.roots,
        ignored: [...images.ignored, ...ignored].slice(0, maxIgnoredEntries),
        index: { bytes: index, count: listed.length },
        dockerNames,
      };
    }
  }
  const roots = await makeDockerImages(dockerFiles, { ...load, intake });
  await intake.settled();
  load.parsed.end(); // nothing of the configs is kept
  const unused = index === undefined ? [] : [{ path: "index.json", reason: "beside no oci-layout and no blobs" }];
  return {
    roots,
    ignored: [...unused, ...dockerFiles.unneeded()].slice(0, maxIgnoredEntries),
    index: undefined,
    dockerNames: undefined,
  };
}

/** What a `manifest.json` beside an index says. */
async function readBeside(dockerFiles: DockerFiles, { parsed }: RunningLoad): Promise<ManifestBeside> {
  const bytes = dockerFiles.readableManifest();
  if (bytes === undefined) return { names: undefined, isOfFiles: false };
  return parsed.parse(bytes.length, () => {
    const images = readDockerManifest(bytes);
    return { names: images && dockerNamesIn(images), isOfFiles: images !== undefined && !namesBlobs(images) };
  });
}

interface ManifestBeside {
  readonly names: DockerNames | undefined;
  /** Does it name files of a docker-archive, rather than the blobs of a layout? */
  readonly isOfFiles: boolean;
}

/** Stores blobs that the archive has in no file of their own, up to a number. */
function storeBlobIn(intake: BlobIntake): PublishOptions["storeBlob"] {
  let count = 0;
  return async (bytes, digest) => {
    if (++count > maxOwnBlobs) throw tooManyOwnBlobs();
    await intake.storeBytes(bytes, digest);
    await intake.settled();
  };
}

function twoWindows(): StowageError {
  return new StowageError("UNSUPPORTED", "Cannot load the archive: it is zstd inside a Content-Encoding of zstd");
}

/** One after the other: an artifact has one or two of them, and a manifest could have many thousands. */
const maxOwnBlobs = 1000;

function tooManyOwnBlobs(): StowageError {
  const message = `Cannot load the archive: more than ${maxOwnBlobs} of its blobs are in no file, but in descriptors or made here`;
  return new StowageError("LIMIT_EXCEEDED", message, { detail: { expected: maxOwnBlobs } });
}

/** Watches the source of a load. A source that breaks off is its sender's doing; its own error says so only in a platform's words. */
function watchLoad(source: AsyncIterable<Uint8Array>, { maxBodyBytes }: Limits, signal: AbortSignal): WatchedSource {
  const watched = WatchedSource.of(source);
  return watched.watch({
    signal,
    onChunk: (chunk) => {
      if (!ArrayBuffer.isView(chunk)) throw notBytes(chunk);
      checkBodyBytes(watched.bytes + chunk.length, maxBodyBytes);
    },
    onFailure: (error) => brokenOff(error, watched.bytes),
  });
}

/** The error that a source broke off after this many bytes, unless it says itself why. */
export function brokenOff(error: unknown, bytes: number): StowageError {
  if (error instanceof StowageError) return error;
  const message = `Cannot read on: the archive broke off after ${bytes} bytes (${messageOf(error)})`;
  return new StowageError("INTERRUPTED", message, { cause: error });
}

/** Types do not rule it out: a stream of Node's that was given an encoding yields strings. */
function notBytes(chunk: unknown): StowageError {
  const message = `Cannot read the archive: its source yields a ${typeof chunk}, expected Uint8Array`;
  return new StowageError("INPUT_INVALID", message);
}
