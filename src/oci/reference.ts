/**
 * Reads repository names, tags and whole references (distribution specification, "Pulling manifests"). Decides whether
 * the registry in front of a name is kept. Names in an archive, in a request's path and on the command line are all
 * read here.
 */
import { type Digest, digestForm, isDigest, isOtherDigest } from "../digest.ts";
import { quote, StowageError } from "../errors.ts";

/** The repository whose index is the layout's own `index.json`. */
export const defaultRepository = "images";

/** Longer names are refused by many clients (distribution specification, "Pulling manifests"). */
export const maxNameLength = 255;

export const namePattern = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
export const tagPattern = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;
/**
 * The form that the image specification allows for `org.opencontainers.image.ref.name` ("Pre-Defined Annotation Keys"),
 * but without "/", ":" and "@".
 */
const refNamePattern = /^[a-zA-Z0-9]+(?:(?:--|[-._+])[a-zA-Z0-9]+)*$/;
/** A registry in front of a name: it has a dot, a colon or a port, or is `localhost`. `[::1]` is an address of IPv6. */
const hostPattern = /^(?:localhost|[a-z0-9_-]+(?:\.[a-z0-9_-]+)+|[a-z0-9_-]+(?=:)|\[[0-9a-f:.]+\])(?::[0-9]+)?$/i;

/** The name of an image: a repository and a tag. An image without a tag is found only by its digest. */
export interface ImageName {
  readonly repository: string;
  readonly tag: string | undefined;
  /** The digest that the image must have. */
  readonly digest?: Digest | undefined;
}

export function isRepositoryName(text: string): boolean {
  return text.length <= maxNameLength && namePattern.test(text);
}

export function isTag(text: string): boolean {
  return tagPattern.test(text);
}

/**
 * Reads a repository name, with or without a registry in front. Docker Hub's `library/app` is `app`, so that a Stowage
 * can serve as its mirror. Throws `NAME_INVALID`.
 */
export function parseRepositoryName(text: string): string {
  refuseScheme(text);
  const repository = withoutRegistry(text);
  if (isRepositoryName(repository)) return repository.replace(/^library\/(?=[^/]+$)/, "");
  throw invalidName(repository);
}

function invalidName(repository: string): StowageError {
  return new StowageError(
    "NAME_INVALID",
    `Cannot use ${quote(repository)} as a repository name: expected at most ${maxNameLength} lower-case letters and digits, ` +
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

/** Checks the digest of a blob or a manifest. Throws `DIGEST_INVALID`, and `UNSUPPORTED` for another algorithm. */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  const code = isOtherDigest(text) ? "UNSUPPORTED" : "DIGEST_INVALID";
  throw new StowageError(code, `Cannot use ${quote(text)} as a digest: expected ${digestForm}`);
}

/**
 * Reads `[REGISTRY/]NAME[:TAG][@DIGEST]`, as in a request's path or on the command line. A digest alone is an image of
 * the default repository. Throws `NAME_INVALID`.
 */
export function parseName(text: string): ImageName {
  refuseScheme(text);
  const { name, tag, digest } = splitReference(text);
  const repository = parseRepositoryName(name);
  return { repository, tag: tag === undefined ? undefined : parseTag(tag), ...(digest !== undefined && { digest }) };
}

/** An image's name as `docker pull` reads it: a registry, and the image's name there. */
interface RegistryName extends ImageName {
  /** The host, with its port if there is one. */
  readonly registry: string;
}

/**
 * Reads `[REGISTRY/]NAME[:TAG][@DIGEST]` as `docker pull` does: without a registry it is Docker Hub's, whose `app` is
 * `library/app`. Throws `NAME_INVALID`.
 */
export function parseRegistryName(text: string): RegistryName {
  const { name, tag, digest } = splitReference(text);
  const [first = ""] = name.split("/", 1);
  const hasRegistry = name.includes("/") && hostPattern.test(first);
  if (!name.includes("/") && /^localhost$|\./.test(name)) {
    throw new StowageError("NAME_INVALID", `Cannot use ${quote(text)} as an image: found a registry alone`);
  }
  const registry = hasRegistry ? first.toLowerCase().replace(/^index\.(?=docker\.io$)/, "") : dockerHub;
  const path = hasRegistry ? name.slice(first.length + 1) : name;
  const repository = registry === dockerHub && !path.includes("/") ? `library/${path}` : path;
  if (!isRepositoryName(repository)) throw invalidName(repository);
  return { registry, repository, tag: tag === undefined ? undefined : parseTag(tag), digest };
}

/** Docker Hub, the registry of names without one. */
const dockerHub = "docker.io";

/** As `parseName`. Without a tag and a digest, the tag is `latest`, as with every client. */
export function parseImageName(text: string): ImageName {
  const name = parseName(text);
  return name.tag === undefined && name.digest === undefined ? { ...name, tag: "latest" } : name;
}

/** Writes what `parseName` reads. */
export function formatName({ repository, tag, digest }: ImageName): string {
  return `${repository}${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`;
}

/** Engines write the whole name of an image here (containerd, Docker, BuildKit). */
export const containerdNameAnnotation = "io.containerd.image.name";

/**
 * The whole name that engines give an image: `docker.io/library/app:1.4`, `docker.io/team/app:1.4`,
 * `ghcr.io/acme/app:1.4`. `parseReference` reads the same name.
 */
export function nameForEngines(name: ImageName): string {
  const { repository } = name;
  const [first = "", ...others] = repository.split("/");
  if (others.length > 0 && hostPattern.test(first)) return formatName(name);
  return `docker.io/${others.length === 0 ? "library/" : ""}${formatName(name)}`;
}

/** `repository:tag`, or `repository@digest` if the reference is a digest. */
export function formatReference(repository: string, reference: string): string {
  return `${repository}${reference.includes(":") ? "@" : ":"}${reference}`;
}

/**
 * Reads a whole reference that an engine writes into an archive: `[REGISTRY/]NAME[:TAG][@DIGEST]`. Without a tag and a
 * digest, the tag is `latest`, as with every client. With a digest and no tag, the image has no tag. A digest alone is
 * an image of the default repository. Throws `NAME_INVALID`.
 */
export function parseReference(text: string): ImageName {
  const parts = splitReference(text);
  return { repository: parseRepositoryName(parts.name), tag: tagIn(parts) };
}

/**
 * The tag of a whole reference. The name in front may be invalid: the request gives the image another name. Throws
 * `NAME_INVALID` if the tag cannot be used.
 */
export function tagOfReference(text: string): string | undefined {
  return tagIn(splitReference(text));
}

function tagIn({ tag, digest }: ReferenceParts): string | undefined {
  if (tag !== undefined) return usableTag(tag);
  return digest === undefined ? "latest" : undefined;
}

/**
 * Checks a tag from an archive. Returns undefined for a tag that only the image specification allows, such as
 * `v1.0+build`: no registry takes it. Throws `NAME_INVALID`.
 */
export function usableTag(text: string): string | undefined {
  return refNamePattern.test(text) && !isTag(text) ? undefined : parseTag(text);
}

/** The tag of a whole reference, if `usableTag` returns undefined for it. */
export function unusableTagOf(reference: string): string | undefined {
  const { tag } = splitReference(reference);
  return tag !== undefined && usableTag(tag) === undefined ? tag : undefined;
}

/** The parts of a reference. Neither the name nor the tag has been checked. */
interface ReferenceParts {
  /** With the registry in front. */
  readonly name: string;
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
}

function splitReference(text: string): ReferenceParts {
  // Kubernetes also names images for containerd by their ids: a digest alone is not a name.
  if (isDigest(text)) return { name: defaultRepository, tag: undefined, digest: text };
  const at = text.indexOf("@");
  const named = at === -1 ? text : text.slice(0, at);
  const digest = at === -1 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !isDigest(digest)) {
    throw new StowageError("NAME_INVALID", `Cannot use ${quote(digest)} as a digest: expected ${digestForm}`);
  }
  const colon = named.indexOf(":", named.lastIndexOf("/") + 1);
  if (colon === -1) return { name: named, tag: undefined, digest };
  return { name: named.slice(0, colon), tag: named.slice(colon + 1), digest };
}

/**
 * Drops the registry in front of a name if the registry only says where the image was made: Docker Hub's, `localhost`,
 * any host with a port, or an address of IPv6. Any other registry stays part of the repository (`ghcr.io/acme/app`), in
 * lower case: hosts have no case.
 */
function withoutRegistry(name: string): string {
  let path = name;
  for (let slash = path.indexOf("/"); slash !== -1; slash = path.indexOf("/")) {
    const host = path.slice(0, slash).toLowerCase();
    if (!hostPattern.test(host)) return path;
    const isOnlyPlace = /^(?:(?:index\.)?docker\.io|localhost)$|[:\]]/.test(host);
    if (!isOnlyPlace) return host + path.slice(slash);
    path = path.slice(slash + 1); // again, so that a second reading of the result changes nothing
  }
  return path;
}

/** Refuses a scheme. People copy web addresses, and transports of other tools, such as `docker://`. */
function refuseScheme(text: string): void {
  const [scheme] = /^[a-z][a-z0-9+.-]*:\/\/|^https?:\/(?!\/)/i.exec(text) ?? [];
  if (scheme === undefined) return;
  const rest = text.slice(scheme.length);
  throw new StowageError(
    "NAME_INVALID",
    `Cannot use ${quote(text)} as a name: found ${quote(scheme)} in front, expected a name without it, ` +
      `such as ${quote(rest === "" ? "team/app:1.4" : rest)}`,
  );
}
