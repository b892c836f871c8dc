/** Tells a write that may have been done, or may be yet, from one that was not: whoever sends it once has to know. */
import { StowageError } from "../errors.ts";
import { isRefusal } from "./probe-store.ts";

/** How a system refuses a write, before anything of it is done. It will refuse the next one as well. */
const refusals: ReadonlySet<unknown> = new Set(["EACCES", "EPERM", "EROFS", "ENOTDIR"]);

/** Did the store say nothing of a write, rather than refuse it, or be refused itself before the write was sent? */
export function isUnanswered(error: unknown): boolean {
  if (!(error instanceof StowageError) || error.code !== "STORE_UNAVAILABLE" || isRefusal(error)) return false;
  if (refusals.has(error.detail?.["code"])) return false;
  const status = error.detail?.["status"];
  return typeof status !== "number" || status >= 500;
}
