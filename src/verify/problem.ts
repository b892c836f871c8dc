/** One thing that is wrong with a store. */
import type { ErrorCode } from "../errors.ts";

export interface Problem {
  /** The key of an object, or an image as `repository:tag` or `repository@digest`. */
  readonly where: string;
  readonly code: ErrorCode;
  readonly message: string;
}
