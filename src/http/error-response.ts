/** Makes the HTTP answer of an error (distribution specification, "Error Codes"). No other file decides a status. */
import type { Context } from "hono";
import { type ErrorCode, StowageError, printable } from "../errors.ts";
import { RequestRecord } from "./request-record.ts";

export const statusOf: Readonly<Record<ErrorCode, number>> = {
  ARCHIVE_INVALID: 400,
  BLOB_UNKNOWN: 404,
  BLOB_UPLOAD_INVALID: 400,
  BLOB_UPLOAD_UNKNOWN: 404,
  COMMIT_CONFLICT: 409,
  CONDITION_FAILED: 412,
  COPY_FAILED: 502,
  DENIED: 403,
  DIGEST_INVALID: 400,
  INDEX_INVALID: 400,
  INPUT_INVALID: 400,
  INTERRUPTED: 503,
  ISSUER_UNAVAILABLE: 503,
  LIMIT_EXCEEDED: 413,
  MANIFEST_BLOB_UNKNOWN: 400,
  MANIFEST_INVALID: 400,
  MANIFEST_UNKNOWN: 404,
  NAME_INVALID: 400,
  NAME_UNKNOWN: 404,
  RANGE_INVALID: 416,
  SIZE_INVALID: 400,
  STORE_DAMAGED: 503,
  STORE_FULL: 507,
  STORE_UNAVAILABLE: 503,
  TAG_IMMUTABLE: 409,
  TIMED_OUT: 408,
  TOOMANYREQUESTS: 429,
  UNAUTHORIZED: 401,
  UNSUPPORTED: 400,
};

/**
 * Sent with a 401, and with `/v2/` for a caller who could do more with a token. It names only Basic. For Bearer,
 * registry clients would look for a token service, as Docker's registries have one.
 */
export const challenge = { "WWW-Authenticate": 'Basic realm="Stowage"' };

/** For a script of the page. After `Basic`, the browser would ask for a password before the script gets the answer. */
const challengeForScript = { "WWW-Authenticate": 'Bearer realm="Stowage"' };

/** In seconds. Most loads take less. */
const retryAfter = { "Retry-After": "10" };
/** Errors after which the same request may succeed soon. */
const isWorthWaiting: ReadonlySet<ErrorCode> = new Set([
  "COPY_FAILED",
  "INTERRUPTED",
  "ISSUER_UNAVAILABLE",
  "TIMED_OUT",
  "TOOMANYREQUESTS",
]);

/** Errors whose messages can name a bucket, keys and paths. */
const codesOfStore: ReadonlySet<ErrorCode> = new Set(["STORE_DAMAGED", "STORE_UNAVAILABLE"]);

/** The error for clients without a token. An error of the store says only that the store failed. */
export function withoutStore(error: Error): Error {
  if (!(error instanceof StowageError) || !codesOfStore.has(error.code)) return error;
  return new StowageError(
    error.code,
    "Cannot answer: the store of the service failed; the log of the service says how",
  );
}

interface ErrorAnswer {
  /** The request, if the app has seen it. Its id is in the answer: people find the line of the log by it. */
  readonly c?: Context;
  /** Replaces the status of the error's code. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** `{"errors":[{"code","message","detail"}]}`, with a line's end for people who use `curl`. */
export function errorResponse(error: unknown, { c, status, headers }: ErrorAnswer = {}): Response {
  const known = error instanceof StowageError ? error : undefined;
  const requestId = c && RequestRecord.of(c)?.id;
  const detail = { ...known?.detail, ...(requestId !== undefined && { requestId }) };
  const body = {
    errors: [
      {
        code: known?.code ?? "UNKNOWN",
        message: known?.message ?? "The service failed; its log says why",
        ...(Object.keys(detail).length > 0 && { detail }),
      },
    ],
  };
  return new Response(`${printable(JSON.stringify(body))}\n`, {
    status: status ?? (known === undefined ? 500 : statusOf[known.code]),
    headers: {
      "Content-Type": "application/json",
      ...(known?.code === "UNAUTHORIZED" && (isScript(c) ? challengeForScript : challenge)),
      ...(known !== undefined && isWorthWaiting.has(known.code) && retryAfter),
      ...headers,
    },
  });
}

/** Pages of other sites cannot set this header, and other clients do not. */
function isScript(c: Context | undefined): boolean {
  return c?.req.header("X-Requested-With") === "XMLHttpRequest";
}
