/** Streams an object to S3, a large one in parts, by lib-storage's `Upload`. */
import type { PutObjectCommandInput, S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { Readable } from "node:stream";
import { abortable } from "../../streams/abortable.ts";
import { wrongSize } from "../../streams/verify-bytes.ts";

export interface UploadStreamOptions {
  readonly client: S3Client;
  /** Where to, with the headers of the object and the condition, which S3 decides when the last part is there. */
  readonly target: PutObjectCommandInput;
  /** For messages. */
  readonly key: string;
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
 * neither, so here the signal ends the source. If a body merely ends early, lib-storage completes it as if it were whole, or
 * waits for ever; here that throws, too.
 */
export async function uploadStream(
  body: AsyncIterable<Uint8Array>,
  { client, target, key, size, partBytes, queueSize, signal }: UploadStreamOptions,
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
      if (received !== size) throw wrongSize(JSON.stringify(key), { received, size });
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
  /** Was the body read to its end before? */
  readonly bodyEnded: boolean;
}
