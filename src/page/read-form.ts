/** Reads the form of a page's own `POST`. */
import type { Context } from "hono";
import { StowageError } from "../errors.ts";
import { isOwnPage } from "../http/refuse-pages.ts";
import type { Service } from "../http/service.ts";
import { readSmallBody } from "../http/small-body.ts";

const maxFormBytes = 16 * 1024;

/** Throws `DENIED` unless the browser says that a page of the service sends the form. */
export async function readForm(c: Context, service: Service): Promise<URLSearchParams> {
  requireOwnPage(c);
  const limits = { maxBytes: maxFormBytes, memoryPerByte: 3 };
  return readSmallBody(c, service, limits, ({ bytes }) => new URLSearchParams(new TextDecoder().decode(bytes)));
}

export function requireOwnPage(c: Context): void {
  if (isOwnPage(c)) return;
  throw new StowageError("DENIED", `Cannot ${c.req.method}: found no sign that a page of this service sends it`);
}
