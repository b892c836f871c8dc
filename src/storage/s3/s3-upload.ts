/** Streams a large blob to S3 in parts, by lib-storage's `Upload`. */
import { Readable } from "node:stream";
import type { S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { StowageError } from "../../errors.ts";
import { abortable } from "../../streams/abortable.ts";

export interface UploadStreamOptions {
  readonly client: S3Client;
  /** Where to, and on which condition, which S3 decides when the last part is there. */
  readonly target: { readonly Bucket: string; readonly Key: string; readonly [header: string]: string };
  /** Length in bytes. */
  readonly size: number;
  readonly partBytes: number;
  readonly queueSize: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Rejects with what the body throws, or with the signal's reason; a failure of the store is a value, for the caller to
 * judge. No upload is left open after either.
 *
 * lib-storage waits for what is in flight and aborts its multipart upload when its source throws. Its own `abort()` does
 * neither, so here the signal ends the source. A body that merely ends early it would complete as if it were whole, or
 * wait for the rest for good; that throws here as well.
 */
export async function uploadStream(
  body: AsyncIterable<Uint8Array>,
  { client, target, size, partBytes, queueSize, signal }: UploadStreamOptions,
): Promise<UploadFailure | undefined> {
  let bodyFailure: { readonly error: unknown } | undefined;
  let bodyEnded = false;
  async function* watched(): AsyncGenerator<Uint8Array> {
    try {
      let received = 0;
      for await (const chunk of abortable(body, signal)) {
        received += chunk.length;
        if (received > size) break;
        yield chunk;
      }
      if (received !== size) throw wrongSize(received, size);
      bodyEnded = true;
    } catch (error) {
      bodyFailure = { error };
      throw error;
    }
  }
  const upload = new Upload({
    client,
    params: { ...target, Body: Readable.from(watched()), ContentLength: size },
    partSize: partBytes,
    queueSize,
  });
  try {
    await upload.done();
    return undefined;
  } catch (storeError) {
    if (bodyFailure !== undefined) throw bodyFailure.error;
    return { storeError, bodyEnded };
  }
}

export interface UploadFailure {
  readonly storeError: unknown;
  /** Was the body read to its end all the same? */
  readonly bodyEnded: boolean;
}

function wrongSize(received: number, size: number): StowageError {
  const found = received > size ? "more bytes" : `${received} bytes`;
  return new StowageError("SIZE_INVALID", `Cannot upload ${found}, expected ${size}`);
}
