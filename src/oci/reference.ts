/**
 * Repository names, tags and whole references (distribution specification, "Pulling manifests"), and what becomes of
 * the registry in front of a name.
 */
import { StowageError, quote } from "../errors.ts";
import { isSha256Digest } from "./digest.ts";

/** The repository whose index is the layout's own `index.json`. */
export const defaultRepository = "images";

/** Longer names are refused by many clients (distribution specification, "Pulling manifests"). */
const maxNameLength = 255;

const namePattern = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const tagPattern = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** Where an image is found: a repository, and a tag or, where there is none, only its digest. */
export interface ImageName {
  readonly repository: string;
  readonly tag: string | undefined;
}

export function isRepositoryName(text: string): boolean {
  return text.length <= maxNameLength && namePattern.test(text);
}

export function isTag(text: string): boolean {
  return tagPattern.test(text);
}

/**
 * Reads a repository name. Docker Hub's `library/app` is `app`, so that a Stowage can serve as its mirror.
 * Throws `NAME_INVALID`.
 */
export function parseRepositoryName(text: string): string {
  if (isRepositoryName(text)) return text.replace(/^library\/(?=[^/]+$)/, "");
  throw new StowageError(
    "NAME_INVALID",
    `Cannot use ${quote(text)} as a repository name: expected at most ${maxNameLength} lower-case letters and digits, ` +
      'separated by ".", "_", "-" or "/"',
  );
}

/** Checks a tag. Throws `NAME_INVALID`. */
export function parseTag(text: string): string {
  if (isTag(text)) return text;
  throw new StowageError(
    "NAME_INVALID",
    `Cannot use ${quote(text)} as a tag: expected at most 128 letters, digits, ".", "_" and "-", ` +
      'the first neither "." nor "-"',
  );
}

/** Reads `NAME[:TAG]`, as in a request's path or on the command line. Throws `NAME_INVALID`. */
export function parseName(text: string): ImageName {
  const colon = text.indexOf(":");
  if (colon === -1) return { repository: parseRepositoryName(text), tag: undefined };
  return { repository: parseRepositoryName(text.slice(0, colon)), tag: parseTag(text.slice(colon + 1)) };
}

/** Writes what `parseName` reads. */
export function formatName({ repository, tag }: ImageName): string {
  return tag === undefined ? repository : `${repository}:${tag}`;
}

/** `repository:tag`, or `repository@digest` where the reference is a digest. */
export function formatReference(repository: string, reference: string): string {
  return `${repository}${reference.includes(":") ? "@" : ":"}${reference}`;
}

/**
 * Reads a whole reference, such as an engine writes into an archive: `[REGISTRY/]NAME[:TAG][@DIGEST]`. Without tag and
 * digest it means `latest`, as with every client; with a digest alone it has no tag, and nothing but a digest is no name.
 * Throws `NAME_INVALID`.
 */
export function parseReference(text: string): ImageName {
  const { name, tag } = splitReference(text);
  return { repository: parseRepositoryName(withoutRegistry(name)), tag };
}

/**
 * The tag of a whole reference, whose name need not be a repository's: somebody has given it another. Throws `NAME_INVALID`
 * if the tag cannot be used.
 */
export function tagOfReference(text: string): string | undefined {
  return splitReference(text).tag;
}

function splitReference(text: string): { readonly name: string; readonly tag: string | undefined } {
  // Kubernetes names images for containerd by their ids as well: a digest by itself is no name.
  if (isSha256Digest(text)) return { name: defaultRepository, tag: undefined };
  const at = text.indexOf("@");
  const named = at === -1 ? text : text.slice(0, at);
  if (at !== -1 && !isSha256Digest(text.slice(at + 1))) {
    throw new StowageError(
      "NAME_INVALID",
      `Cannot use ${quote(text)} as a reference: no sha256 digest follows the "@"`,
    );
  }
  const colon = named.indexOf(":", named.lastIndexOf("/") + 1);
  const name = colon === -1 ? named : named.slice(0, colon);
  const tag = colon === -1 ? (at === -1 ? "latest" : undefined) : parseTag(named.slice(colon + 1));
  return { name, tag };
}

/**
 * Drops the registry in front of a name where it only says where the image was made: Docker Hub's, `localhost`, or any
 * host with a port. Any other stays part of the repository (`ghcr.io/acme/app`).
 */
function withoutRegistry(name: string): string {
  const slash = name.indexOf("/");
  const host = name.slice(0, slash);
  if (slash === -1) return name;
  if (host === "docker.io" || host === "index.docker.io") return name.slice(slash + 1);
  return host === "localhost" || /:[0-9]+$/.test(host) ? name.slice(slash + 1) : name;
}
