/**
 * The one property of a load, whatever it is given: either its receipt is right by an independent reading of the archive,
 * and all that it names can be pulled; or it is refused as the sender's fault, and nothing that others see has changed.
 */
import { expect } from "vitest";
import { type ErrorCode, StowageError } from "../../src/errors.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import { type ImageReceipt, type Receipt, hasChanges } from "../../src/load/receipt.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { chunksOf, randomBytes, sha256, sha512, splitInto } from "./bytes.ts";
import { type Pull, checkPull, puller } from "./check-pull.ts";
import { compareReaders } from "./compare-readers.ts";
import {
  type DockerImage,
  type LayoutImage,
  type Reading,
  dockerImagesIn,
  layoutImagesIn,
  readIndependently,
  unknownRootsIn,
} from "./independent-reading.ts";
import { makeLayout, tarOf } from "./layout.ts";
import { visibleState } from "./visible-state.ts";
import { openLayout } from "./open-layout.ts";

/** Even on a busy machine each load takes some milliseconds. */
const maxLoadMs = 20_000;

/** Small, so that a blob of a few KiB is streamed. */
const partBytes = 1000;

/** What is the archive's own fault: HTTP 400 or 413. */
const refusals: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "ARCHIVE_INVALID",
  "DIGEST_INVALID",
  "INDEX_INVALID",
  "LIMIT_EXCEEDED",
  "MANIFEST_BLOB_UNKNOWN",
  "MANIFEST_INVALID",
  "NAME_INVALID",
  "SIZE_INVALID",
  "UNSUPPORTED",
]);

export type LoadOutcome = "loaded" | ErrorCode;

/**
 * Loads the body, in chunks of these sizes again and again, into a store that has an image. Throws if the property is
 * broken, and if tar-stream reads the body in another way that is not listed.
 */
export async function checkLoad(body: Uint8Array, chunkSizes: readonly number[]): Promise<LoadOutcome> {
  await compareReaders(body);
  const store = await usedStore();
  const before = await visibleState(store);
  const refused = await inTime(refusal(loadArchive(openLayout(store), splitInto(body, chunkSizes))));
  if (refused instanceof StowageError) {
    expect(await visibleState(store), "what others see after a load that failed").toEqual(before);
    return refused.code;
  }
  const reading = await readIndependently(body);
  await checkReceipt(refused, reading, store);
  const after = await visibleState(store);
  const changed = [...new Set([...before.keys(), ...after.keys()])].filter((key) => before.get(key) !== after.get(key));
  const expected = new Set(refused.images.flatMap(({ repository }) => keysOf(repository)));
  expect(
    changed.filter((key) => !expected.has(key)),
    "keys that no image of the receipt explains",
  ).toEqual([]);

  const again = await inTime(loadArchive(openLayout(store), splitInto(body, chunkSizes)));
  expect(hasChanges(again), "a second load changes something").toBe(false);
  expect(await visibleState(store)).toEqual(after);
  return "loaded";
}

/** With an image that has two of the layers that archives are made of, and one of their names. */
async function usedStore(): Promise<MemoryStore> {
  const store = new MemoryStore({ partBytes });
  await loadArchive(openLayout(store), chunksOf(await oldArchive, 4000));
  return store;
}

const oldArchive = tarOf(makeLayout({ layers: [randomBytes(100), randomBytes(3000)], name: "app:1", label: "old" }));

/** The receipt, or the error if it is one that the archive is to blame for. */
async function refusal(load: Promise<Receipt>): Promise<Receipt | StowageError> {
  try {
    return await load;
  } catch (error) {
    if (error instanceof StowageError && refusals.has(error.code)) return error;
    throw new Error("The load failed with an error that is not the archive's fault", { cause: error });
  }
}

async function inTime<T>(load: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`The load did not end within ${maxLoadMs} ms`)), maxLoadMs);
  });
  return Promise.race([load, late]).finally(() => clearTimeout(timer));
}

function keysOf(repository: string): string[] {
  if (repository === "images") return ["index.json"];
  const folder = `repositories/${repository}/_layout`;
  return [`${folder}/index.json`, `${folder}/oci-layout`];
}

async function checkReceipt(receipt: Receipt, reading: Reading, store: ObjectStore): Promise<void> {
  const pull = puller(store);
  const images = layoutImagesIn(reading);
  if (images !== undefined) {
    const unknown = unknownRootsIn(reading);
    const left = new Set(
      receipt.ignored.filter(({ reason }) => reason.startsWith("a root of")).map(({ path }) => path),
    );
    const isLeft = ({ digest }: LayoutImage): boolean => left.has(`blobs/${digest.replace(":", "/")}`);
    expect(images.filter(isLeft).filter(({ digest }) => !unknown.has(digest))).toEqual([]);
    const wanted = images
      .filter((image) => !isLeft(image))
      .map((image) => `${image.repository}:${image.tag ?? ""} ${image.digest}`);
    const found = receipt.images.map(
      ({ repository, reference, digest }) => `${repository}:${reference === digest ? "" : reference} ${digest}`,
    );
    expect(found.toSorted()).toEqual(wanted.toSorted()); // a receipt has them by repository
    const others = otherFilesIn(reading);
    const blobs = receipt.blobs.map(({ digest, size }) => `${digest} ${size}`);
    expect(blobs.filter((blob) => !others.has(blob))).toEqual(blobsIn(reading).filter((blob) => !others.has(blob)));
    expect(blobs).toEqual(expect.arrayContaining(blobsIn(reading)));
  } else {
    const made = await Promise.all(receipt.images.map((image) => partsOf(image, pull)));
    const wanted = dockerImagesIn(reading).map((image) => describe({ ...image, tag: image.tag ?? "" }));
    expect(made.toSorted()).toEqual([...new Set(wanted)].toSorted());
  }
  for (const image of receipt.images) await checkPull(image, pull);
}

const blobPath = /^blobs\/(?:sha256\/[0-9a-f]{64}|sha512\/[0-9a-f]{128})$/;

/** Each blob of a layout once, in the archive's order. */
function blobsIn({ files }: Reading): string[] {
  const blobs = [...files].filter(([path]) => blobPath.test(path));
  return blobs.map(([path, bytes]) => `${path.slice("blobs/".length).replace("/", ":")} ${bytes.length}`);
}

/** Files beside a layout's own, which a docker-archive could be made of: the receipt may have them, and at their place. */
function otherFilesIn({ entries }: Reading): Set<string> {
  const others = entries.filter(([path]) => !blobPath.test(path));
  return new Set(others.flatMap(([, bytes]) => [sha256, sha512].map((digest) => `${digest(bytes)} ${bytes.length}`)));
}

/** A manifest that was made for a docker-archive, taken apart again. */
async function partsOf({ repository, reference, digest }: ImageReceipt, pull: Pull): Promise<string> {
  const bytes = await pull(repository, `manifests/${reference}`);
  const { config, layers } = JSON.parse(String(bytes)) as { config: Digested; layers: Digested[] };
  const tag = reference === digest ? "" : reference;
  return describe({ repository, tag, config: config.digest, layers: layers.map((layer) => layer.digest) });
}

function describe({ repository, tag, config, layers }: DockerImage): string {
  return `${repository}:${tag} ${config} ${layers.join(" ")}`;
}

interface Digested {
  readonly digest: string;
}
