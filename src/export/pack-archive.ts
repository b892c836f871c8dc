/** Packs the files of a plan into a tarball. Its bytes depend on the plan alone. */
import type { Digest } from "../digest.ts";
import { type Pack, pack as openPack } from "tar-stream";
import { messageOf, StowageError } from "../errors.ts";
import type { ImageSource } from "../remote/image-source.ts";
import { type ExpectedBytes, VerifiedBytes, isWrongBytes } from "../streams/verify-bytes.ts";
import { blobPath } from "./archive-json.ts";
import type { ExportPlan } from "./plan-export.ts";
import { oneChunk } from "../streams/readable-stream.ts";

type Bytes = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** Opens a blob of a repository. Undefined if there is none. */
export type BlobOpener = (
  repository: string,
  blob: ExpectedBytes,
  kind: "manifest" | "blob",
) => Promise<AsyncIterable<Uint8Array> | undefined>;

/** Opens manifests and blobs of a source. A registry has no manifests among its blobs. */
export function openFrom(source: ImageSource, signal: AbortSignal): BlobOpener {
  return async (repository, blob, kind) => {
    if (kind === "blob") return source.readBlob(repository, blob, { signal });
    const found = await source.readManifest(repository, blob.digest, { signal });
    return found && oneChunk(found.bytes);
  };
}

/**
 * Yields the tarball. Every blob is verified while it is read: after a damaged blob the tarball ends with an error,
 * before the blob's last bytes. Throws `STORE_DAMAGED`, and the errors of `open`.
 */
export async function* packArchive({ texts, blobs: groups }: ExportPlan, open: BlobOpener): AsyncGenerator<Uint8Array> {
  const pack = openPack();
  const write = async (): Promise<void> => {
    for (const { path, bytes } of texts) await writeEntry(pack, path, bytes.length, [bytes]);
    const writeBlob = async (repository: string, blob: ExpectedBytes, kind: "manifest" | "blob"): Promise<void> => {
      const body = await open(repository, blob, kind);
      if (body === undefined) throw lost(blob.digest);
      const verified = new VerifiedBytes(body, blob);
      if (pack.destroying) return void (await verified.return()); // the reader left while the blob was opened
      await writeEntry(pack, blobPath(blob.digest), blob.size, verified).catch(explainDamage);
    };
    for (const { repository, manifests, blobs } of groups) {
      for (const manifest of manifests) await writeBlob(repository, manifest, "manifest");
      for (const blob of blobs) await writeBlob(repository, blob, "blob");
    }
    pack.finalize();
  };
  const writing = write().catch((error: unknown) => {
    pack.destroy(error instanceof Error ? error : new Error(messageOf(error))); // the reader's loop throws this error
    throw error;
  });
  writing.catch(() => undefined); // it may fail while the reader has not asked for more
  try {
    for await (const chunk of pack as AsyncIterable<Uint8Array>) yield chunk;
  } finally {
    pack.destroy(null);
    await writing.catch(() => undefined); // the reader may have left early
  }
  await writing;
}

/** Fixed, so that the same images give the same bytes. Owner and group are 0 by default. */
const about = { mode: 0o644, mtime: new Date(0) };

/** Writes as fast as the reader of the tarball reads. Returns early if the tarball is closed. */
async function writeEntry(pack: Pack, name: string, size: number, body: Bytes): Promise<void> {
  const entry = pack.entry({ ...about, name, size });
  let isClosed = false;
  let wake = (): void => undefined;
  const closed = new Promise<void>((resolve) => {
    entry.on("drain", () => wake());
    entry.on("close", () => {
      isClosed = true;
      wake();
      resolve();
    });
  });
  entry.on("error", () => undefined); // the reader of the tarball gets the error
  for await (const chunk of body) {
    const isFull = !entry.write(chunk);
    if (isFull && !isClosed) await new Promise<void>((resolve) => (wake = resolve));
    if (isClosed) return;
  }
  entry.end(null);
  await closed;
}

/** Wrong bytes are the store's fault here. */
function explainDamage(error: unknown): never {
  throw isWrongBytes(error)
    ? new StowageError("STORE_DAMAGED", `${error.message}: the store's copy is damaged`, { cause: error })
    : error;
}

function lost(digest: Digest): StowageError {
  return new StowageError(
    "STORE_DAMAGED",
    `Cannot pack blob "${digest}": an image needs it, and the store does not have it`,
  );
}
