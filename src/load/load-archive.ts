/**
 * A load, from the first byte of a tarball to the receipt. Blobs are stored while the tarball is read. The images are
 * published once everything that they name is in the store. A load that fails before then publishes nothing.
 */
import { StowageError, brokenOff } from "../errors.ts";
import type { Layout } from "../layout/layout.ts";
import type { Limits } from "../limits.ts";
import type { Release } from "../streams/line.ts";
import { WatchedSource } from "../streams/watched-source.ts";
import { checkBodyBytes, decodeContent } from "./decode-content.ts";
import type { DockerFiles } from "./docker-files.ts";
import { makeDockerImages } from "./docker-images.ts";
import { type DockerNames, dockerNamesIn, namesBlobs, readDockerManifest } from "./docker-names.ts";
import { imageRootsOf } from "./image-roots.ts";
import { RunningLoad, type LoadOptions } from "./running-load.ts";
import { type StoredArchive, publishImages } from "./publish-images.ts";
import { type IgnoredEntry, type Receipt, maxIgnoredEntries } from "./receipt.ts";
import { parseRoots, takeEntries } from "./take-entries.ts";

/**
 * Loads a tarball in one pass. The tarball holds an OCI image layout (image specification, "Image Layout"), or a
 * docker-archive as `podman save` and older versions of `docker save` write it. The tarball is plain, or compressed
 * with gzip or zstd.
 *
 * The source is anything that yields bytes: a stream of Node's, a web stream such as the body that `fetch` answers
 * with, a generator. The source is read no faster than the store takes the bytes. A load that fails stops reading the
 * source. The load keeps chunks, so the source must not write into the memory of a chunk again. A silent source keeps
 * its share of memory: end the load by `signal`.
 *
 * Nothing is published unless all images are whole. Otherwise throws a `StowageError`: `ARCHIVE_INVALID`,
 * `INDEX_INVALID`, `MANIFEST_INVALID`, `MANIFEST_BLOB_UNKNOWN`, `DIGEST_INVALID`, `SIZE_INVALID`, `NAME_INVALID` or
 * `UNSUPPORTED` for a wrong archive or wrong names, `INPUT_INVALID` for a source that yields anything but bytes,
 * `INTERRUPTED` for a source that throws, `LIMIT_EXCEEDED`, `DENIED`, `TAG_IMMUTABLE`, `CONDITION_FAILED`,
 * `COMMIT_CONFLICT`, and `STORE_UNAVAILABLE` or `STORE_DAMAGED` for the store.
 */
export async function loadArchive(
  layout: Layout,
  source: AsyncIterable<Uint8Array>,
  options: LoadOptions = {},
): Promise<Receipt> {
  const load = new RunningLoad(layout, options);
  const { intake, json } = load;
  const received = watchLoad(source, layout.limits, load.signal);
  try {
    const archive = await storeArchive(load, received);
    const { images, referrers } = await publishImages(load, archive);
    const { blobs } = intake;
    const { ignored } = archive;
    const totals = { images: images.length, referrers, written: 0, present: 0, repaired: 0, ignored: ignored.length };
    const bytes = { received: received.bytes, written: 0, present: 0, repaired: 0 };
    for (const { size, status } of blobs) {
      totals[status] += 1;
      bytes[status] += size;
    }
    return {
      images,
      totals,
      get blobs() {
        return [...blobs]; // a list of very many blobs takes much memory, and is rarely wanted
      },
      ignored,
      bytes,
      requests: load.requests,
    };
  } finally {
    json.end();
  }
}

/** Reads the archive to its end. Afterwards its blobs are in the store, and nothing is published. */
async function storeArchive(load: RunningLoad, source: WatchedSource): Promise<LoadedArchive> {
  try {
    return await readSource(load, source);
  } catch (error) {
    load.fail(error);
    await load.intake.settled().catch(() => undefined); // the same error ends the writes that still run
    throw error;
  }
}

interface LoadedArchive extends StoredArchive {
  readonly ignored: readonly IgnoredEntry[];
}

/**
 * Reads all entries, and decides what the archive is. It is an image layout if it has an `index.json` and blobs or an
 * `oci-layout`. With an `index.json` alone it is a layout too, unless a `manifest.json` names files of a
 * docker-archive.
 */
async function readSource(load: RunningLoad, source: WatchedSource): Promise<LoadedArchive> {
  const { layout, caller, signal, intake, json } = load;
  const { limits, budget } = layout;
  let holdsWindow = false;
  const holdWindow = async (bytes: number): Promise<Release> => {
    if (holdsWindow) throw twoWindows(); // a load that holds one window and waits for another could wait forever
    holdsWindow = true;
    return budget.takeLasting(bytes, { caller, signal });
  };
  const tar = decodeContent(source, load.contentEncoding, { ...limits, holdWindow, received: source });
  const contents = await takeEntries(tar, intake, { ...limits, holdWindow, received: source });
  await intake.settled();
  const { index, isLayout, dockerFiles, ignored } = contents;
  if (index !== undefined) {
    const { names: dockerNames, isOfFiles } = await readManifestBeside(load, dockerFiles);
    if (isLayout || !isOfFiles) {
      await json.keep(index.length);
      const listed = await json.parse(index.length, () => parseRoots(index));
      const images = await imageRootsOf(load, listed);
      return {
        roots: images.roots,
        ignored: [...images.ignored, ...ignored].slice(0, maxIgnoredEntries),
        index: { bytes: index, count: listed.length },
        dockerNames,
      };
    }
  }
  const roots = await makeDockerImages(load, dockerFiles);
  await intake.settled(); // the manifests that were made are blobs too
  json.end(); // no part of a config is needed any more
  const unused = index === undefined ? [] : [{ path: "index.json", reason: "beside no oci-layout and no blobs" }];
  return {
    roots,
    ignored: [...unused, ...dockerFiles.unneeded()].slice(0, maxIgnoredEntries),
    index: undefined,
    dockerNames: undefined,
  };
}

/** Reads the `manifest.json` that some archives have beside their `index.json`. */
async function readManifestBeside({ json }: RunningLoad, dockerFiles: DockerFiles): Promise<ManifestBeside> {
  const bytes = dockerFiles.readableManifest();
  if (bytes === undefined) return { names: undefined, isOfFiles: false };
  return json.parse(bytes.length, () => {
    const images = readDockerManifest(bytes);
    return { names: images && dockerNamesIn(images), isOfFiles: images !== undefined && !namesBlobs(images) };
  });
}

interface ManifestBeside {
  readonly names: DockerNames | undefined;
  /** Does `manifest.json` name files of a docker-archive, and not the blobs of a layout? */
  readonly isOfFiles: boolean;
}

function twoWindows(): StowageError {
  return new StowageError("UNSUPPORTED", "Cannot load the archive: it is zstd inside a Content-Encoding of zstd");
}

/**
 * Watches the source of a load. The error of a source that breaks off differs by platform: it becomes `INTERRUPTED`.
 */
function watchLoad(source: AsyncIterable<Uint8Array>, { maxBodyBytes }: Limits, signal: AbortSignal): WatchedSource {
  const watched = WatchedSource.of(source);
  return watched.watch({
    signal,
    onChunk: (chunk) => {
      if (!ArrayBuffer.isView(chunk)) throw notBytes(chunk);
      checkBodyBytes(watched.bytes + chunk.length, maxBodyBytes);
    },
    onFailure: (error) => brokenOff("archive", error, watched.bytes),
  });
}

/** A Node stream with an encoding yields strings, and its TypeScript type does not show this. */
function notBytes(chunk: unknown): StowageError {
  const message = `Cannot read the archive: its source yields a ${typeof chunk}, expected Uint8Array`;
  return new StowageError("INPUT_INVALID", message);
}
