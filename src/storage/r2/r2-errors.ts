/** Asks R2, again where that may help, and says in Stowage's words what it could not do. */
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, StowageError } from "../../errors.ts";
import { orAbort } from "../../streams/abortable.ts";

/** Tries of one request, the first included. */
const maxTries = 4;
/** Before the second try, at most; twice as long before each further one. R2 takes one write a second to one key. */
const firstWaitMs = 250;

/** Codes that R2 gives for what passes: an internal error, a lost connection, no service, too many requests. */
const passingCodes: readonly number[] = [10001, 10043, 10054, 10058];

/** A request to R2, as messages name it. */
export interface R2Call {
  /** URL of the store. */
  readonly url: string;
  /** The binding's own name of the operation, such as `put`. */
  readonly operation: string;
  /** The key, or the prefix of a listing. */
  readonly key: string;
  /** R2 knows no signals: it ends the waiting, not the request. */
  readonly signal?: AbortSignal | undefined;
  /** Is it not to be sent again? */
  readonly once?: boolean | undefined;
}

export interface R2Answer<T> {
  readonly value: T;
  /** The request was sent more than once: a conditional write can have failed on its own success. */
  readonly wasRetried: boolean;
}

/** Sends a request. Throws `STORE_UNAVAILABLE`, or the signal's reason. */
export async function askR2<T>(call: R2Call, request: () => Promise<T>): Promise<R2Answer<T>> {
  const { signal, once = false } = call;
  for (let tries = 1; ; tries++) {
    signal?.throwIfAborted();
    try {
      return { value: await orAbort(request(), signal), wasRetried: tries > 1 };
    } catch (error) {
      signal?.throwIfAborted();
      if (once || tries === maxTries || !isPassing(error)) throw r2Unavailable(error, call);
      await sleep(Math.random() * firstWaitMs * 2 ** (tries - 1));
    }
  }
}

/** `STORE_UNAVAILABLE`, with what was asked and what R2 said. */
export function r2Unavailable(error: unknown, { url, operation, key }: R2Call): StowageError {
  if (error instanceof StowageError) return error;
  const code = codeOf(error);
  return new StowageError("STORE_UNAVAILABLE", `${operation} of "${key}" failed at ${url}: ${messageOf(error)}`, {
    cause: error,
    detail: { store: url, operation, key, ...(code !== undefined && { code }) },
  });
}

/** An error without a code is the runtime's, such as "Network connection lost."; a `TypeError` is our own mistake. */
function isPassing(error: unknown): boolean {
  const code = codeOf(error);
  return code === undefined ? !(error instanceof TypeError) : passingCodes.includes(code);
}

/** R2 puts its code at the end of the message: `put: The specified bucket does not exist. (10006)`. */
function codeOf(error: unknown): number | undefined {
  const code = /\((\d+)\)$/.exec(messageOf(error))?.[1];
  return code === undefined ? undefined : Number(code);
}
