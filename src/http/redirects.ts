/**
 * Which blobs clients fetch from the bucket itself (distribution specification, "Pulling blobs", allows a 307): those
 * that are larger than an answer of the platform may be, and, where the settings say so, all but the small ones.
 */
import { StowageError } from "../errors.ts";
import { blobKey } from "../storage/keys.ts";
import type { Service } from "./service.ts";

/** A redirect costs the client a round trip and a connection: the bytes of a config are sent in less. */
const minRedirectBytes = 64 * 1024;

/** Kept free of an answer's bytes for its headers. */
const headerBytes = 64 * 1024;

/** How long a presigned URL is good for; a download that has begun goes on. */
const urlSeconds = 20 * 60;

export interface Blob {
  readonly digest: string;
  /** Length in bytes. */
  readonly size: number;
}

export type Redirects = Pick<Service, "layout" | "redirectBlobs" | "maxResponseBytes">;

/** Can a blob be redirected, or refused, at all? Otherwise nobody need know its size before its bytes. */
export function mayRedirect({ layout, redirectBlobs, maxResponseBytes }: Redirects): boolean {
  return maxResponseBytes !== undefined || (redirectBlobs && layout.store.presigner !== undefined);
}

/** The answer that sends a client to the bucket, or undefined where the blob is sent, or a range of it. */
export async function redirectBlob({ digest, size }: Blob, options: Redirects): Promise<Response | undefined> {
  const { presigner } = options.layout.store;
  const isWanted = (options.redirectBlobs && size > minRedirectBytes) || !fitsAnswer(size, options);
  if (!isWanted || presigner === undefined) return undefined;
  const url = await presigner.presignGet(blobKey(digest), { seconds: urlSeconds });
  return new Response(null, {
    status: 307,
    headers: { Location: url, "Docker-Content-Digest": digest, "Content-Length": "0", "Cache-Control": "no-store" },
  });
}

/** Throws `UNSUPPORTED` where the platform would cut off an answer of so many bytes. */
export function checkAnswer({ digest, size }: Blob, options: Redirects): void {
  if (fitsAnswer(size, options)) return;
  const { maxResponseBytes } = options;
  throw new StowageError(
    "UNSUPPORTED",
    `Cannot send ${size} bytes of blob "${digest}": the platform lets ${maxResponseBytes} through, and the store has ` +
      "no addresses of its own to fetch it from. Ranges that are short enough can be had",
    { detail: { digest, found: size, expected: maxResponseBytes } },
  );
}

function fitsAnswer(size: number, { maxResponseBytes }: Redirects): boolean {
  return maxResponseBytes === undefined || size + headerBytes <= maxResponseBytes;
}
