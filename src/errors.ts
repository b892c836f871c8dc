/**
 * The one error class of Stowage. Every failure that a user can cause or must know of carries one of these codes;
 * `http/error-response.ts` decides the HTTP status of each.
 */

/** Error codes of the OCI distribution specification ("Error Codes"), where one fits. */
export type OciErrorCode =
  | "BLOB_UNKNOWN"
  | "BLOB_UPLOAD_INVALID"
  | "BLOB_UPLOAD_UNKNOWN"
  | "DENIED"
  | "DIGEST_INVALID"
  | "MANIFEST_BLOB_UNKNOWN"
  | "MANIFEST_INVALID"
  | "MANIFEST_UNKNOWN"
  | "NAME_INVALID"
  | "NAME_UNKNOWN"
  | "SIZE_INVALID"
  | "TOOMANYREQUESTS"
  | "UNAUTHORIZED"
  | "UNSUPPORTED";

/** Our own codes, where the specification has none. */
export type OwnErrorCode =
  /** The body is no archive, or one that is cut short or damaged. */
  | "ARCHIVE_INVALID"
  /** Other writers moved the index again and again; nothing was published. */
  | "COMMIT_CONFLICT"
  /** A setting, an argument or a parameter of a request cannot be used. */
  | "INPUT_INVALID"
  /** The archive's `index.json`, or a docker-archive's `manifest.json`, cannot be used. */
  | "INDEX_INVALID"
  /** Whoever waited for the work went away, or the service is stopping. */
  | "INTERRUPTED"
  /** More bytes, entries or levels than a limit allows. */
  | "LIMIT_EXCEEDED"
  /** A range of a blob that lies outside of it (HTTP 416). */
  | "RANGE_INVALID"
  /** The store holds something that cannot be right: a damaged object. */
  | "STORE_DAMAGED"
  /** The store did not answer, refused, or ignores conditional writes. */
  | "STORE_UNAVAILABLE";

/** Every code that a `StowageError` can have. More may come; none changes its meaning. */
export type ErrorCode = OciErrorCode | OwnErrorCode;

/** What an error knows besides its message. */
export interface StowageErrorOptions {
  /** What went wrong beneath, if anything did. */
  readonly cause?: unknown;
  /** Machine-readable facts for the `detail` of an OCI error body: what was found, what was expected. */
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** An error with a stable `code`. Its message says what could not be done, what was found and what was expected. */
export class StowageError extends Error {
  override readonly name = "StowageError";
  readonly code: ErrorCode;
  readonly detail: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, message: string, options: StowageErrorOptions = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.detail = options.detail;
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
