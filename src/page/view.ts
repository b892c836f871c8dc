/** What each page needs to know of its request, and the links between pages. */
import type { Context } from "hono";
import { callerNameIfKnown, hasToken, isAllowed } from "../http/authentication.ts";
import { pathAbove, protocolOf, publicHost } from "../http/request-url.ts";
import type { Service } from "../http/service.ts";
import { hasSessionCookie } from "../http/session-cookie.ts";
import { formatReference } from "../oci/reference.ts";
import type { Line } from "../streams/line.ts";

/** The service, and the line of requests that put pages together. */
export interface PageService extends Service {
  readonly line: Line;
}

export interface View {
  /** The path of the service, without a slash at its end. Empty at the root of a host. */
  readonly base: string;
  /** The URL of the service for other programs, without a slash at its end. */
  readonly url: string;
  /** The service's name for clients that pull. */
  readonly host: string;
  /** The name of the caller's token. Undefined without a token. */
  readonly caller: string | undefined;
  readonly mayLoad: boolean;
  /** False on a service without tokens, and for a caller who has logged in. */
  readonly mayLogIn: boolean;
  /** Is the token in the page's cookie? */
  readonly mayLogOut: boolean;
}

export function viewOf(c: Context): View {
  const name = callerNameIfKnown(c);
  const isKnown = name !== undefined && hasToken(c);
  const base = baseOf(c);
  return {
    base,
    url: `${protocolOf(c)}//${publicHost(c)}${base}`,
    host: publicHost(c),
    caller: isKnown ? name : undefined,
    mayLoad: name !== undefined && isAllowed(c, "load", undefined),
    mayLogIn: !isKnown && name !== "anyone",
    mayLogOut: isKnown && hasSessionCookie(c),
  };
}

/** The path in front of `/-/…`, or of the root's `/`. An app around this one may serve it below a path. */
export function baseOf(c: Context): string {
  const path = pathAbove(c, 0);
  const end = path.indexOf("/-/");
  return end === -1 ? path.replace(/\/$/, "") : path.slice(0, end);
}

export function repositoryUrl({ base }: View, name: string): string {
  return `${base}/-/repository/${name}`;
}

export function imageUrl({ base }: View, name: string, reference: string): string {
  return `${base}/-/image/${name}/${reference}`;
}

export function deleteUrl({ base }: View, name: string, reference: string): string {
  return `${base}/-/delete/${name}/${reference}`;
}

/** The tarball of an image, for one platform if one is given. */
export function exportUrl({ base }: View, name: string, reference: string, platform?: string): string {
  const query = platform === undefined ? "" : `?platform=${encodeURIComponent(platform)}`;
  return `${base}/v1/export/${formatReference(name, reference)}${query}`;
}
