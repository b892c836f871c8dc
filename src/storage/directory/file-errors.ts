/** Turns errors of the file system into Stowage's errors, and tells which errors are answers. */
import { StowageError } from "../../errors.ts";

/**
 * Does `work`. An error of the file system becomes `STORE_UNAVAILABLE` ("Cannot `doing`: EIO: i/o error"), or
 * `STORE_FULL` for a full disk. All other errors are passed on unchanged.
 */
export async function guarded<Result>(doing: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    const [reason] = error.message.split(","); // paths follow
    const options = { cause: error, detail: { code: error.code, call: error.syscall } };
    if (isDiskFull(error))
      throw new StowageError("STORE_FULL", `Cannot ${doing}: the disk is full (${reason})`, options);
    throw new StowageError("STORE_UNAVAILABLE", `Cannot ${doing}: ${reason}${hintOf(error)}`, options);
  }
}

/**
 * Does the error mean that there is no such file? A name that is too long means that too, and a parent that is a file.
 */
export function isAbsence(error: unknown): boolean {
  return hasCode(error, "ENOENT", "ENOTDIR", "ENAMETOOLONG");
}

/** Is the disk full, or this user's quota? Nothing was written then. */
export function isDiskFull(error: unknown): boolean {
  return hasCode(error, "ENOSPC", "EDQUOT");
}

export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return isSystemError(error) && codes.includes(error.code);
}

/** Codes of file systems without hard links. */
const noHardLinkCodes: ReadonlySet<string> = new Set(["EPERM", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"]);

interface SystemError extends Error {
  readonly code: string;
  readonly syscall: string;
}

function hintOf({ code, syscall }: SystemError): string {
  if (syscall === "link" && noHardLinkCodes.has(code)) return "; a store needs hard links";
  return code === "EXDEV" ? "; a store has to lie on one file system, and a folder in it is the mount of another" : "";
}

export function isSystemError(error: unknown): error is SystemError {
  return (
    error instanceof Error &&
    "code" in error &&
    typeof error.code === "string" &&
    "syscall" in error &&
    typeof error.syscall === "string"
  );
}
