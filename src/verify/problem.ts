/** What is wrong with a store. */
import type { ErrorCode } from "../errors.ts";

/** One thing that is wrong with a store. */
export interface Problem {
  /** The key of an object, or an image as `repository:tag` or `repository@digest`. */
  readonly where: string;
  readonly code: ErrorCode;
  readonly message: string;
}

/** A blob without which images are not whole: a tarball that has it repairs them. */
export interface LackedBlob {
  readonly digest: string;
  readonly state: "missing" | "damaged";
  /** The images that need it, as `repository:tag` or `repository@digest`; of very many, the first. */
  readonly images: readonly string[];
}
