/**
 * Stowage's one error class. Every failure that a user can cause, or has to know about, has one of these codes.
 * `http/error-response.ts` decides the HTTP status of each code.
 */

/** Error codes of the OCI distribution specification ("Error Codes"), used if one fits. */
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

/** Stowage's own codes, for errors that the specification does not have. */
export type OwnErrorCode =
  /** The body is not an archive, or the archive is cut short or damaged. */
  | "ARCHIVE_INVALID"
  /** Other writers changed the index at each try. Nothing was published. */
  | "COMMIT_CONFLICT"
  /** A target of the settings does not have all images. The service's own store has them. */
  | "COPY_FAILED"
  /** The tag does not have the digest that the client's condition names. Nothing was changed. */
  | "CONDITION_FAILED"
  /** A setting, an argument or a parameter of a request cannot be used. */
  | "INPUT_INVALID"
  /** The archive's `index.json`, or a docker-archive's `manifest.json`, cannot be used. */
  | "INDEX_INVALID"
  /** The client went away, or the service is stopping. */
  | "INTERRUPTED"
  /** The keys of an OIDC issuer cannot be read. So the token can be neither accepted nor refused. */
  | "ISSUER_UNAVAILABLE"
  /** More bytes, entries or levels than a limit allows. */
  | "LIMIT_EXCEEDED"
  /** A range is outside of its blob (HTTP 416). */
  | "RANGE_INVALID"
  /** An object in the store is damaged. */
  | "STORE_DAMAGED"
  /** The store's disk is full. Nothing was written. */
  | "STORE_FULL"
  /**
   * The store did not answer, refused a request, ignores the conditions of writes, or was written by a later version of
   * Stowage.
   */
  | "STORE_UNAVAILABLE"
  /** The settings forbid to move or remove this tag. */
  | "TAG_IMMUTABLE"
  /** A client was silent for too long, or a load took too long. */
  | "TIMED_OUT";

/** Every code that a `StowageError` can have. Later versions may add codes. The meaning of a code never changes. */
export type ErrorCode = OciErrorCode | OwnErrorCode;

/** Can another try succeed after this error? A wrong archive or a wrong request stays wrong. */
const transience: Readonly<Record<ErrorCode, boolean>> = {
  ARCHIVE_INVALID: false,
  BLOB_UNKNOWN: false,
  BLOB_UPLOAD_INVALID: false,
  BLOB_UPLOAD_UNKNOWN: false,
  COMMIT_CONFLICT: true,
  CONDITION_FAILED: false,
  COPY_FAILED: true,
  DENIED: false,
  DIGEST_INVALID: false,
  INDEX_INVALID: false,
  INPUT_INVALID: false,
  INTERRUPTED: true,
  ISSUER_UNAVAILABLE: true,
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

/** Can another try succeed after an error with this code? */
export function isTransient(code: ErrorCode): boolean {
  return transience[code];
}

/** Is the value from an answer one of Stowage's codes? */
export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(transience, value);
}

/** The facts about an error besides its message. */
export interface StowageErrorOptions {
  /** The error behind this error, if there is one. */
  readonly cause?: unknown;
  /** Machine-readable facts for the `detail` of an OCI error body: what was found, what was expected. */
  readonly detail?: Readonly<Record<string, unknown>>;
  /** More lines of the message, such as a list of problems. */
  readonly lines?: readonly string[];
}

/**
 * An error with a stable `code`. Its message says what could not be done, what was found and what was expected. Each
 * line of the message is printable: bytes of a client cannot begin a line in a log or steer a terminal.
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

/** A limit, and the value that exceeded it. */
interface Excess extends Readonly<Record<string, unknown>> {
  /** The setting that sets the limit, such as `maxBlobBytes`, if one does. */
  readonly limit?: string;
  /** The value that was found, if it is known. */
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

/**
 * The error of a body that breaks off. Each platform throws another error for that, so this one replaces them. `what`
 * names the body. An error of Stowage itself, such as that of a limit, is returned unchanged.
 */
export function brokenOff(what: string, error: unknown, bytes: number): StowageError {
  if (error instanceof StowageError) return error;
  const message = `Cannot read on: the ${what} broke off after ${bytes} bytes (${messageOf(error)})`;
  return new StowageError("INTERRUPTED", message, { cause: error });
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Escapes invisible characters: control characters, line ends, and marks that change the direction of writing. In JSON
 * the escapes mean the same characters.
 */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) =>
    Array.from({ length: character.length }, (_, i) => escapeUnit(character.charCodeAt(i))).join(""),
  );
}

/** As `printable`, for a text of several lines. */
export function printableLines(text: string): string {
  return text.split("\n").map(printable).join("\n");
}

/** Puts a client's text into a message: in quotes, printable, and cut to a length. */
export function quote(text: string, maxLength = 300): string {
  return printable(JSON.stringify(text.length <= maxLength ? text : `${text.slice(0, maxLength)}…`));
}

function escapeUnit(unit: number): string {
  return `\\u${unit.toString(16).padStart(4, "0")}`;
}
