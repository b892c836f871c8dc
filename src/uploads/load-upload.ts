/** Loads what was uploaded in parts, as if it had been the body of one request. */
import { StowageError, messageOf } from "../errors.ts";
import { type LoadOptions, loadArchive } from "../load/load-archive.ts";
import type { Receipt } from "../load/receipt.ts";
import { deleteUpload } from "./delete-upload.ts";
import { listParts } from "./list-parts.ts";
import { readParts } from "./read-parts.ts";
import type { Upload } from "./upload.ts";

export interface LoadUploadOptions extends LoadOptions {
  readonly log: (line: string) => void;
}

/** So many missing parts a message names; the detail of the error has all. */
const maxNamedParts = 20;

/**
 * Loads an upload and deletes it. Throws `BLOB_UPLOAD_INVALID` while parts are missing, and what `loadArchive` throws; the
 * parts stay then, until they are deleted or expire.
 */
export async function loadUpload(upload: Upload, options: LoadUploadOptions): Promise<Receipt> {
  const parts = await listParts(upload, options);
  const missing = parts.filter(({ present }) => !present).map(({ number }) => number);
  if (missing.length > 0) throw incomplete(upload, missing, parts.length);
  const receipt = await loadArchive(readParts(upload, options), options);
  await deleteUpload(upload.id, options).catch((error: unknown) => {
    // The images are there, and whoever waits is told so: what is left expires.
    options.log(`cannot delete upload ${upload.id}, which is loaded: ${messageOf(error)}`);
  });
  return receipt;
}

function incomplete({ id }: Upload, missing: readonly number[], count: number): StowageError {
  const named = missing.slice(0, maxNamedParts).join(", ") + (missing.length > maxNamedParts ? ", …" : "");
  const message = `Cannot load upload "${id}": ${missing.length} of its ${count} parts are missing: ${named}`;
  return new StowageError("BLOB_UPLOAD_INVALID", message, { detail: { id, missing } });
}
