/** Reads the address of a registry, or of an image in one. */
import { StowageError } from "../errors.ts";
import { isLoopback } from "../loopback.ts";
import { type ImageName, parseRegistryName } from "../oci/reference.ts";
import { type Credentials, credentialsOf } from "./credentials.ts";

export interface RegistryAddress {
  /**
   * Scheme, host and port, and the path below which the registry is mounted. Without secrets, and no slash at the end.
   */
  readonly url: string;
  /** The credentials that the text has. */
  readonly credentials?: Credentials | undefined;
  /**
   * The image that the text names, as the registry knows it: `library/alpine`. Without tag and digest: a repository.
   */
  readonly image?: ImageName | undefined;
}

const docker = "docker://";

/**
 * Reads `https://[USER:PASSWORD@]HOST[/BASE]`, the same with `http://`, or `docker://[HOST/]NAME[:TAG][@DIGEST]`. Plain
 * HTTP is used only for `http://`, and for `docker://` with a host of this machine. Throws `INPUT_INVALID` or
 * `NAME_INVALID`, without any secret in the message.
 */
export function parseRegistryAddress(text: string): RegistryAddress {
  return text.startsWith(docker) ? parseImageAddress(text.slice(docker.length)) : parseUrl(text);
}

/** Is the text the address of a registry, or of an image in one? */
export function isRegistryAddress(text: string): boolean {
  return /^(?:docker|https?):\/\//.test(text);
}

function parseImageAddress(text: string): RegistryAddress {
  const { registry, ...image } = parseRegistryName(text);
  const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
  if (!URL.canParse(`https://${host}`)) throw unusable(docker + text, "");
  const scheme = isLoopback(new URL(`https://${host}`).hostname) ? "http" : "https";
  return { url: `${scheme}://${host}`, image };
}

function parseUrl(text: string): RegistryAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) throw unusable(text, "");
  if (`${url.pathname}${url.search}${url.hash}`.includes("@")) {
    throw unusable(text, '; in a password "/", "?", "#" and "@" are written %2F, %3F, %23 and %40');
  }
  if (url.search !== "" || url.hash !== "") {
    throw unusable(url.origin + url.pathname, "; found a query or a fragment behind");
  }
  const path = url.pathname.replace(/\/+$/, "").replace(/\/v2$/, "");
  return { url: url.origin + path, credentials: credentialsOf(url, "the registry's URL") };
}

/** Text before an "@" is not shown: it may be a secret, also in a text that is not a URL. */
function unusable(text: string, hint: string): StowageError {
  const at = text.lastIndexOf("@");
  const shown = JSON.stringify(at === -1 ? text : `…${text.slice(at)}`);
  const expected = "expected one such as https://registry.example or docker://ghcr.io/acme/app:1";
  return new StowageError("INPUT_INVALID", `Cannot use ${shown} as a registry: ${expected}${hint}`);
}
