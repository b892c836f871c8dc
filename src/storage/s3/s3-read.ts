/** Looks at objects of S3 and reads them. One that is not there is `undefined`. */
import { GetObjectCommand, HeadObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import type { GetOptions, ObjectInfo, StoredObject } from "../object-store.ts";
import { discardS3Body, readS3Body } from "./s3-body.ts";
import { type S3Call, isAbsent, storeUnavailable } from "./s3-errors.ts";
import { infoOf, sizeOfRanged } from "./s3-headers.ts";
import { withSignal } from "./s3-signal.ts";

export interface ReadOptions extends GetOptions {
  readonly client: S3Client;
  readonly at: { readonly Bucket: string; readonly Key: string };
  /** Of the store it is, and for messages. */
  readonly call: S3Call;
}

export interface S3ObjectInfo extends ObjectInfo {
  readonly metadata: Readonly<Record<string, string>>;
}

export async function headS3Object({ client, at, call, signal }: ReadOptions): Promise<S3ObjectInfo | undefined> {
  try {
    const { ContentLength, ETag, Metadata } = await withSignal(client, signal).send(new HeadObjectCommand(at));
    return { ...infoOf({ key: call.key, size: ContentLength, etag: ETag }, call), metadata: Metadata ?? {} };
  } catch (error) {
    if (isAbsent(error)) return undefined;
    signal?.throwIfAborted();
    throw storeUnavailable(error, call);
  }
}

export async function getS3Object({ client, at, call, range, signal }: ReadOptions): Promise<StoredObject | undefined> {
  try {
    const command = new GetObjectCommand({ ...at, ...(range && { Range: `bytes=${range.start}-${range.end}` }) });
    const { Body, ContentLength, ContentRange, ETag } = await withSignal(client, signal).send(command);
    try {
      const sent = infoOf({ key: call.key, size: ContentLength, etag: ETag }, call);
      const whole = range === undefined ? sent : infoOf({ ...sent, size: sizeOfRanged(ContentRange) }, call);
      return { ...whole, body: readS3Body(Body, { call, size: sent.size, signal }) };
    } catch (error) {
      await discardS3Body(Body);
      throw error;
    }
  } catch (error) {
    if (isAbsent(error)) return undefined;
    signal?.throwIfAborted();
    throw storeUnavailable(error, call);
  }
}
