/** What the file system says when it fails, in Stowage's words: which of its errors are answers, and which are failures. */
import { StowageError } from "../../errors.ts";

/**
 * Does `work`. An error of the file system becomes `STORE_UNAVAILABLE`: "Cannot `doing`: EIO: i/o error", and that of a
 * full disk `STORE_FULL`. All others are passed on as they are.
 */
export async function guarded<Result>(doing: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    const [reason] = error.message.split(","); // what follows are paths
    const options = { cause: error, detail: { code: error.code, call: error.syscall } };
    if (isDiskFull(error))
      throw new StowageError("STORE_FULL", `Cannot ${doing}: the disk is full (${reason})`, options);
    throw new StowageError("STORE_UNAVAILABLE", `Cannot ${doing}: ${reason}${hintOf(error)}`, options);
  }
}

/** Does the error say that there is no such file? A name that is too long, or lies below a file, has none either. */
export function isAbsence(error: unknown): boolean {
  return hasCode(error, "ENOENT", "ENOTDIR", "ENAMETOOLONG");
}

/** Is there no room, or none that this user may take? Nothing was written then. */
export function isDiskFull(error: unknown): boolean {
  return hasCode(error, "ENOSPC", "EDQUOT");
}

export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return isSystemError(error) && codes.includes(error.code);
}

/** How file systems without hard links refuse to make one. */
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
