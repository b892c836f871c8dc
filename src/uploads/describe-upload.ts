/** Describes an upload to its client: the URL and the bytes of each part, and the parts that have arrived. */
import { setImmediate } from "node:timers/promises";
import { uploadPartKey, uploadPrefix } from "../layout/keys.ts";
import type { Layout } from "../layout/layout.ts";
import type { CallOptions } from "../storage/object-store.ts";
import { type Upload, type UploadPart, partsOf } from "./upload.ts";

/** The URL under which the service itself takes a part, if the store has no URLs for it. */
type ServedUrlOf = (upload: Upload, part: UploadPart) => string;

interface UploadDescription {
  readonly id: string;
  readonly size: number;
  readonly partBytes: number;
  readonly parts: readonly DescribedPart[];
}

interface DescribedPart extends ListedPart {
  /** For one PUT of the part's bytes. The URL needs no token. */
  readonly url: string;
}

/** Signing this many URLs takes some 20 ms, and nothing else runs meanwhile. */
const partsAtATime = 100;
/** How long a presigned URL is valid. Each description has new ones. */
const urlSeconds = 3600;

export async function describeUpload(
  layout: Layout,
  upload: Upload,
  servedUrlOf: ServedUrlOf,
  signal: AbortSignal,
): Promise<UploadDescription> {
  const { id, size, partBytes } = upload;
  const listed = await listParts(layout, upload, { signal });
  const urls = await urlsOf(layout, upload, listed, servedUrlOf);
  // Fields one by one: with 10,000 parts, a spread takes several times as long.
  const parts = listed.map((part, i) => ({
    number: part.number,
    offset: part.offset,
    size: part.size,
    url: urls[i] ?? "",
    present: part.present,
  }));
  return { id, size, partBytes, parts };
}

async function urlsOf(
  { store: { presigner } }: Layout,
  upload: Upload,
  parts: readonly UploadPart[],
  servedUrlOf: ServedUrlOf,
): Promise<readonly string[]> {
  if (presigner === undefined) return parts.map((part) => servedUrlOf(upload, part));
  const urls: string[] = [];
  const presign = async ({ number, size }: UploadPart): Promise<string> =>
    presigner.presignPut(uploadPartKey(upload.id, number), { seconds: urlSeconds, size });
  for (let first = 0; first < parts.length; first += partsAtATime) {
    urls.push(...(await Promise.all(parts.slice(first, first + partsAtATime).map(presign))));
    await setImmediate(); // other requests get a turn
  }
  return urls;
}

interface ListedPart extends UploadPart {
  /** Is the part there, with all of its bytes? VersityGW keeps parts that were cut short. */
  readonly present: boolean;
}

/** All parts in their order, by one listing of the store. */
export async function listParts(
  { store }: Layout,
  upload: Upload,
  { signal }: CallOptions,
): Promise<readonly ListedPart[]> {
  const prefix = uploadPrefix(upload.id);
  const sizes = new Map<number, number>();
  for await (const { key, size } of store.list(prefix, { signal })) sizes.set(Number(key.slice(prefix.length)), size);
  return Array.from(partsOf(upload), ({ number, offset, size }) => ({
    number,
    offset,
    size,
    present: sizes.get(number) === size,
  }));
}
