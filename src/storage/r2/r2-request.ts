/** Sends requests to R2, tries again if that can help, and turns R2's errors into Stowage's. */
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, StowageError } from "../../errors.ts";
import { orAbort } from "../../streams/abortable.ts";
import type { SendOptions } from "../object-store.ts";
import type { R2Bucket } from "./r2-bucket.ts";

/** Tries of one request, the first included. */
const maxTries = 4;
/**
 * The longest wait before the second try. Each further wait is twice as long. R2 accepts one write a second to one key.
 */
const firstWaitMs = 250;

/** R2's codes of passing errors: an internal error, a lost connection, no service, too many requests. */
const passingCodes: readonly number[] = [10001, 10043, 10054, 10058];

/** One request to R2. R2 accepts no signals: a signal ends the wait, but not the request. */
export interface R2Request extends SendOptions {
  readonly bucket: R2Bucket;
  /** The key in the bucket, or the prefix of a listing. */
  readonly at: string;
  /** The key without the prefix of the store, for messages. */
  readonly key: string;
  /** URL of the store. */
  readonly url: string;
  /** The binding's own name of the operation, such as `put`. */
  readonly operation: string;
}

/** Sends a request. Throws `STORE_UNAVAILABLE`, or the signal's reason. */
export async function askR2<T>(request: R2Request, send: () => Promise<T>): Promise<T> {
  const { signal, once = false } = request;
  for (let tries = 1; ; tries++) {
    signal?.throwIfAborted();
    try {
      return await orAbort(send(), signal);
    } catch (error) {
      signal?.throwIfAborted();
      if (once || tries === maxTries || !isPassing(error)) throw r2Unavailable(error, request);
      await sleep(Math.random() * firstWaitMs * 2 ** (tries - 1));
    }
  }
}

/** The error `STORE_UNAVAILABLE`, with the request and R2's message. */
export function r2Unavailable(error: unknown, { url, operation, key }: R2Request): StowageError {
  if (error instanceof StowageError) return error;
  const code = codeOf(error);
  return new StowageError("STORE_UNAVAILABLE", `${operation} of "${key}" failed at ${url}: ${messageOf(error)}`, {
    cause: error,
    detail: { store: url, operation, key, ...(code !== undefined && { code }) },
  });
}

/**
 * Can another try succeed? If so, R2 may still have done the failed request. An error without a code comes from the
 * runtime, such as "Network connection lost.". A `TypeError` is a mistake of our own.
 */
export function isPassing(error: unknown): boolean {
  const code = codeOf(error);
  return code === undefined ? !(error instanceof TypeError) : passingCodes.includes(code);
}

/** R2 puts its code at the end of the message: `put: The specified bucket does not exist. (10006)`. */
function codeOf(error: unknown): number | undefined {
  const code = /\((\d+)\)$/.exec(messageOf(error))?.[1];
  return code === undefined ? undefined : Number(code);
}
