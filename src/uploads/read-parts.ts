/** Reads an upload as the one stream that its parts make. */
import { StowageError } from "../errors.ts";
import { uploadPartKey } from "../storage/keys.ts";
import type { StoreReader } from "../storage/object-store.ts";
import { type Upload, partsOf } from "./upload.ts";

export interface ReadPartsOptions {
  readonly store: StoreReader;
  readonly signal?: AbortSignal | undefined;
}

/** Opens each part when the one before it has been read. Throws `BLOB_UPLOAD_INVALID` where one is gone meanwhile. */
export async function* readParts(upload: Upload, { store, signal }: ReadPartsOptions): AsyncGenerator<Uint8Array> {
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
