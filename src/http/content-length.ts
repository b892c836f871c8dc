/** How long a request says that its body is (RFC 9110, section 8.6). */
import type { Context } from "hono";

/** Undefined where it does not say: the body then comes in chunks, or there is none. */
export function contentLengthOf(c: Context): number | undefined {
  const header = c.req.header("Content-Length");
  return header !== undefined && /^\d+$/.test(header) ? Number(header) : undefined;
}
