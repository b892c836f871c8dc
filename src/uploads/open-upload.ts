/** Reads the parts of an upload as one stream. */
import { StowageError } from "../errors.ts";
import { uploadPartKey } from "../layout/keys.ts";
import type { Layout } from "../layout/layout.ts";
import type { CallOptions } from "../storage/object-store.ts";
import { listParts } from "./describe-upload.ts";
import { type Upload, partsOf } from "./upload.ts";

/** The most missing parts that a message names. The detail of the error has all. */
const maxNamedParts = 20;

/** Throws `BLOB_UPLOAD_INVALID` while parts are missing. Nothing is read before the first chunk is asked for. */
export async function openUpload(
  layout: Layout,
  upload: Upload,
  options: CallOptions,
): Promise<AsyncIterable<Uint8Array>> {
  const parts = await listParts(layout, upload, options);
  const missing = parts.filter(({ present }) => !present).map(({ number }) => number);
  if (missing.length > 0) throw incomplete(upload, missing, parts.length);
  return readParts(layout, upload, options);
}

/**
 * Opens each part when the part before it has been read. Throws `BLOB_UPLOAD_INVALID` if a part is gone in the
 * meantime.
 */
async function* readParts({ store }: Layout, upload: Upload, { signal }: CallOptions): AsyncGenerator<Uint8Array> {
  for (const { number, size } of partsOf(upload)) {
    const object = await store.get(uploadPartKey(upload.id, number), { signal });
    if (object?.size !== size) {
      await object?.body[Symbol.asyncIterator]().return?.();
      const found = object === undefined ? "it is gone" : `found ${object.size} bytes`;
      throw new StowageError(
        "BLOB_UPLOAD_INVALID",
        `Cannot read part ${number} of upload "${upload.id}": ${found}, expected ${size} bytes. ` +
          "It has been loaded or deleted meanwhile, has expired, or was sent again and cut short",
        { detail: { id: upload.id, missing: [number] } },
      );
    }
    yield* object.body;
  }
}

function incomplete({ id }: Upload, missing: readonly number[], count: number): StowageError {
  const named = missing.slice(0, maxNamedParts).join(", ") + (missing.length > maxNamedParts ? ", …" : "");
  const message = `Cannot load upload "${id}": ${missing.length} of its ${count} parts are missing: ${named}`;
  return new StowageError("BLOB_UPLOAD_INVALID", message, { detail: { id, missing } });
}
