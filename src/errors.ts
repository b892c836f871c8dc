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
  /** A tag is not what whoever changes it said that it must be; nothing was changed. */
  | "CONDITION_FAILED"
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
  /** There is no room left in the store: the disk is full. Nothing was written. */
  | "STORE_FULL"
  /** The store did not answer, refused, ignores conditional writes, or was written by a later version of Stowage. */
  | "STORE_UNAVAILABLE"
  /** By the settings this tag never moves and is never removed. */
  | "TAG_IMMUTABLE"
  /** A client that was silent for too long, or a load that took too long. */
  | "TIMED_OUT";

/** Every code that a `StowageError` can have. More may come; none changes its meaning. */
export type ErrorCode = OciErrorCode | OwnErrorCode;

/** Of each code: may another try go better? What is wrong with an archive, or with who asks, stays wrong. */
const transience: Readonly<Record<ErrorCode, boolean>> = {
  ARCHIVE_INVALID: false,
  BLOB_UNKNOWN: false,
  BLOB_UPLOAD_INVALID: false,
  BLOB_UPLOAD_UNKNOWN: false,
  COMMIT_CONFLICT: true,
  CONDITION_FAILED: false,
  DENIED: false,
  DIGEST_INVALID: false,
  INDEX_INVALID: false,
  INPUT_INVALID: false,
  INTERRUPTED: true,
  LIMIT_EXCEEDED: false,
  MANIFEST_BLOB_UNKNOWN: false,
  MANIFEST_INVALID: false,
  MANIFEST_UNKNOWN: false,
  NAME_INVALID: false,
  NAME_UNKNOWN: false,
  RANGE_INVALID: false,
  SIZE_INVALID: false,
  STORE_DAMAGED: true,
  STORE_FULL: true,
  STORE_UNAVAILABLE: true,
  TAG_IMMUTABLE: false,
  TIMED_OUT: true,
  TOOMANYREQUESTS: true,
  UNAUTHORIZED: false,
  UNSUPPORTED: false,
};

/** Is what failed with this code worth another try? */
export function isTransient(code: ErrorCode): boolean {
  return transience[code];
}

/** Is it one of our codes, where an answer says that it is? */
export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(transience, value);
}

/** What an error knows besides its message. */
export interface StowageErrorOptions {
  /** What went wrong beneath, if anything did. */
  readonly cause?: unknown;
  /** Machine-readable facts for the `detail` of an OCI error body: what was found, what was expected. */
  readonly detail?: Readonly<Record<string, unknown>>;
  /** More lines of the message, such as a list of problems. */
  readonly lines?: readonly string[];
}

/**
 * An error with a stable `code`. Its message says what could not be done, what was found and what was expected. Each line of
 * the message is printable: bytes of a client cannot begin a line in a log or steer a terminal.
 */
export class StowageError extends Error {
  override readonly name = "StowageError";
  readonly code: ErrorCode;
  readonly detail: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, message: string, options: StowageErrorOptions = {}) {
    const lines = [message, ...(options.lines ?? [])].map(printable);
    super(lines.join("\n"), "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.detail = options.detail;
  }
}

/** What a limit is, and what exceeded it. */
export interface Excess extends Readonly<Record<string, unknown>> {
  /** The setting that sets the limit, such as `maxBlobBytes`, if one does. */
  readonly limit?: string;
  /** What was found, if it is known. */
  readonly found?: unknown;
  /** The limit. */
  readonly expected: number;
}

/**
 * The error of every limit. `problem` says what could not be done, and ends with what was found:
 * `Cannot take "x": it has 12 bytes`. More facts in `excess` go into the error's `detail`.
 */
export function limitExceeded(problem: string, excess: Excess): StowageError {
  const setting = excess.limit === undefined ? "" : ` (${excess.limit})`;
  return new StowageError("LIMIT_EXCEEDED", `${problem}, at most ${excess.expected} are allowed${setting}`, {
    detail: excess,
  });
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Escapes what is not seen in a line of text: control characters, line ends, and marks that change the direction of writing.
 * In JSON the escapes mean the same characters.
 */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) =>
    Array.from({ length: character.length }, (_, i) => escapeUnit(character.charCodeAt(i))).join(""),
  );
}

/** As `printable`, of a text of several lines. */
export function printableLines(text: string): string {
  return text.split("\n").map(printable).join("\n");
}

/** A client's text for a message: in quotes, printable, and cut to a length. */
export function quote(text: string, maxLength = 300): string {
  return printable(JSON.stringify(text.length <= maxLength ? text : `${text.slice(0, maxLength)}…`));
}

function escapeUnit(unit: number): string {
  return `\\u${unit.toString(16).padStart(4, "0")}`;
}
