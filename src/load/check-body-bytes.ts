/** How large a tarball may be: looked at before a byte of it is read, where its length is known, and while it is read. */
import { StowageError } from "../errors.ts";

/** Throws `LIMIT_EXCEEDED` if so many bytes, announced or received, are more than `maxBodyBytes`. */
export function checkBodyBytes(found: number, maxBodyBytes: number): void {
  if (found <= maxBodyBytes) return;
  throw new StowageError(
    "LIMIT_EXCEEDED",
    `Cannot load the archive: it has ${found} bytes or more, at most ${maxBodyBytes} are allowed (maxBodyBytes)`,
    { detail: { limit: "maxBodyBytes", found, expected: maxBodyBytes } },
  );
}
