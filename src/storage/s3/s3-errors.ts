/** Reads what the AWS SDK throws: what is an expected outcome, and what a failure of the store is called. */
import { S3ServiceException } from "@aws-sdk/client-s3";
import { StowageError } from "../../errors.ts";
import type { BlobIdentity } from "../object-store.ts";
import { s3HintOf } from "./s3-hints.ts";

/** A request to S3, as messages name it. */
export interface S3Call {
  /** URL of the store. */
  readonly url: string;
  /** S3's own name of the operation, such as `PutObject`. */
  readonly operation: string;
  /** The key, or the prefix of a listing. */
  readonly key: string;
}

/** There is no such object. A missing bucket is something else, except to HEAD, whose answer has no body to tell. */
export function isAbsent(error: unknown): boolean {
  return isNamed(error, "NoSuchKey", "NotFound");
}

/** Another write came first: the condition of this one does not hold (412), or could not be decided (409). */
export function isLostRace(error: unknown): boolean {
  const status = statusOf(error);
  return status === 412 || status === 409;
}

/** The upload is gone; after a lost answer, because it has been completed. */
export function isUploadGone(error: unknown): boolean {
  return isNamed(error, "NoSuchUpload");
}

/**
 * It is not known whether the request took effect: no answer came, or one that says so. VersityGW, for one, answers 412
 * to a large body before it has read it and hangs up, and who still writes then never sees the answer.
 */
export function isUndecided(error: unknown): boolean {
  return (statusOf(error) ?? 500) >= 500;
}

/**
 * The SDK sent the request more than once. A conditional write whose answer was lost then fails on its own success: who
 * is told that a race is lost looks at what is there before believing it.
 */
export function wasRetried(error: unknown): boolean {
  return error instanceof S3ServiceException && (error.$metadata.attempts ?? 1) > 1;
}

/** `STORE_UNAVAILABLE`, with what was asked and what the store said. */
export function storeUnavailable(error: unknown, { url, operation, key }: S3Call): StowageError {
  if (error instanceof StowageError) return error;
  const status = statusOf(error);
  const said = status === undefined ? sayingOf(error) : `${status} ${sayingOf(error)}`;
  const message = `${operation} of "${key}" failed at ${url}: ${said}${s3HintOf(error, operation)}`;
  return new StowageError("STORE_UNAVAILABLE", message, {
    cause: error,
    detail: { store: url, operation, key, ...(status !== undefined && { status }) },
  });
}

/** `STORE_DAMAGED`: under a blob's digest lies something of another size. */
export function blobDamaged(
  { url, digest, size }: BlobIdentity & { readonly url: string },
  found: number,
  cause?: unknown,
): StowageError {
  return new StowageError(
    "STORE_DAMAGED",
    `Cannot store blob "${digest}" in ${url}: an object of ${found} bytes lies there, expected ${size}`,
    { cause, detail: { digest, found, expected: size } },
  );
}

function isNamed(error: unknown, ...names: readonly string[]): boolean {
  return error instanceof S3ServiceException && names.includes(error.name);
}

function statusOf(error: unknown): number | undefined {
  return error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
}

/** S3's error code, or the system's, such as `ECONNREFUSED`, which says more than `Error`; then its message. */
function sayingOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "TimeoutError" && error.message.includes("requestTimeout")) return "it did not answer in time";
  const name = "code" in error && typeof error.code === "string" ? error.code : error.name;
  const message = error.message.replaceAll(/\s+/g, " ").replace(/[. ]+$/, "");
  const saysMore = message !== "" && message !== name && message !== "UnknownError";
  return saysMore ? `${name}: ${message}` : name;
}
