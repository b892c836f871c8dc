/**
 * A load, from the first byte of a tarball to the receipt. Blobs go into the store as they stream by; only when all are
 * there, and all that they name, are the images published. What fails before that publishes nothing.
 */
import { setMaxListeners } from "node:events";
import { StowageError, messageOf } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { ImageName } from "../oci/reference.ts";
import { CountingStore } from "../storage/counting-store.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { abortable } from "../streams/abortable.ts";
import type { ByteBudget } from "../streams/byte-budget.ts";
import { BlobIntake } from "./blob-intake.ts";
import { checkClosure } from "./check-closure.ts";
import { commitIndex } from "./commit-index.ts";
import { makeDockerImages } from "./docker-images.ts";
import { nameRoots } from "./name-roots.ts";
import type { IgnoredEntry, ImageReceipt, Receipt } from "./receipt.ts";
import { takeEntries } from "./take-entries.ts";

export interface LoadOptions {
  readonly store: ObjectStore;
  readonly limits: Limits;
  /** Shared by all loads of the process. */
  readonly budget: ByteBudget;
  /** What the image is to be called, whatever the tarball says: a repository, or a repository and a tag. */
  readonly name?: ImageName | undefined;
  /** Ends the load: it rejects with the signal's reason once everything that it began is cleaned up. */
  readonly signal?: AbortSignal | undefined;
}

/** A load under way: its options, with a store that counts and a signal that also fires when a part of it fails. */
interface RunningLoad extends LoadOptions {
  readonly store: CountingStore;
  readonly signal: AbortSignal;
}

/**
 * Loads an OCI image layout (image specification, "Image Layout") or a docker-archive that comes as a tarball, plain or
 * compressed.
 * Throws a `StowageError` if it cannot be read, is not whole, or cannot be stored; nothing is published then.
 */
export async function loadArchive(source: AsyncIterable<Uint8Array>, options: LoadOptions): Promise<Receipt> {
  const failed = new AbortController(); // a blob that cannot be stored ends the reading at once
  const signal = options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
  setMaxListeners(0, signal); // each request under way listens to it
  const load: RunningLoad = { ...options, store: new CountingStore(options.store), signal };
  const intake = new BlobIntake({ ...load, onFailure: (error) => failed.abort(error) });
  const meter = { bytes: 0 };
  let archive: StoredArchive;
  try {
    archive = await storeArchive(abortable(metered(source, meter), signal), intake, load);
  } catch (error) {
    failed.abort(error);
    await intake.settled().catch(() => undefined); // told to end for the same reason
    throw error;
  }
  const images = await publish(archive, intake, load);
  const blobs = intake.receipts();
  return {
    images,
    blobs,
    ignored: archive.ignored,
    bytes: {
      received: meter.bytes,
      written: blobs.reduce((sum, { size, status }) => sum + (status === "present" ? 0 : size), 0),
      skipped: blobs.reduce((sum, { size, status }) => sum + (status === "present" ? size : 0), 0),
    },
    requests: load.store.requests,
  };
}

/** An archive of which everything is in the store, and nothing published. */
interface StoredArchive {
  readonly roots: readonly Descriptor[];
  readonly ignored: readonly IgnoredEntry[];
}

async function storeArchive(
  source: AsyncIterable<Uint8Array>,
  intake: BlobIntake,
  load: RunningLoad,
): Promise<StoredArchive> {
  const contents = await takeEntries(source, { intake, limits: load.limits });
  await intake.settled();
  if ("roots" in contents) return contents;
  const roots = await makeDockerImages(contents.dockerFiles, { ...load, intake });
  await intake.settled();
  return { roots, ignored: contents.dockerFiles.unneeded() };
}

/** Counts the bytes. A source that breaks off is its sender's doing; its own error says so only in a platform's words. */
async function* metered(source: AsyncIterable<Uint8Array>, meter: { bytes: number }): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of source) {
      meter.bytes += chunk.length;
      yield chunk;
    }
  } catch (error) {
    if (error instanceof StowageError) throw error;
    const message = `Cannot read on: the archive broke off after ${meter.bytes} bytes (${messageOf(error)})`;
    throw new StowageError("INTERRUPTED", message, { cause: error });
  }
}

/** Checks that every image is whole, then publishes them: all of one repository in one conditional write. */
async function publish(archive: StoredArchive, intake: BlobIntake, load: RunningLoad): Promise<ImageReceipt[]> {
  const roots = await checkClosure(archive.roots, { ...load, known: intake });
  const images = nameRoots(roots, load.name);
  const receipts: ImageReceipt[] = [];
  for (const repository of new Set(images.map((image) => image.repository))) {
    const changes = images.filter((image) => image.repository === repository);
    const outcomes = await commitIndex(repository, changes, load).catch((error: unknown) => {
      throw receipts.length === 0 ? error : publishedInPart(error, receipts);
    });
    receipts.push(
      ...changes.map(({ tag, digest, mediaType, size, absent }, i): ImageReceipt => {
        const outcome = outcomes[i] ?? { status: "unchanged" };
        const isSparse = absent.length > 0;
        return {
          repository,
          reference: tag ?? digest,
          digest,
          mediaType,
          size,
          ...outcome,
          ...(isSparse && { absent }),
        };
      }),
    );
  }
  return receipts;
}

/** Repositories are published one after the other: what was published before one of them failed has to be said. */
function publishedInPart(error: unknown, receipts: readonly ImageReceipt[]): StowageError {
  const published = receipts.map(({ repository, reference }) => `${repository}:${reference}`);
  const code = error instanceof StowageError ? error.code : "STORE_UNAVAILABLE";
  const message = `${messageOf(error)}; published already: ${published.join(", ")}`;
  return new StowageError(code, message, { cause: error, detail: { published } });
}
