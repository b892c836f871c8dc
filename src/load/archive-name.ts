/** Reads the name of an image from the annotations of its descriptor, and from the path of a request. */
import { quote, StowageError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { refNameAnnotation } from "../oci/index-entry.ts";
import {
  type ImageName,
  containerdNameAnnotation,
  defaultRepository,
  parseName,
  parseReference,
  tagOfReference,
  unusableTagOf,
  usableTag,
} from "../oci/reference.ts";

export interface ArchiveName extends ImageName {
  /** A tag in the archive that no registry takes, such as `v1.0+build`. The image then has no tag. */
  readonly unusableTag?: string | undefined;
}

type Annotated = Pick<Descriptor, "annotations">;

/** The text of an image's name: containerd's annotation if there is one, else `org.opencontainers.image.ref.name`. */
export function nameTextOf({ annotations }: Annotated): string | undefined {
  return annotations?.[containerdNameAnnotation] ?? annotations?.[refNameAnnotation];
}

/** The annotations that hold a name. */
export function nameAnnotationsOf({ annotations = {} }: Annotated): Record<string, string> {
  const isName = ([key]: readonly [string, string]): boolean =>
    key === containerdNameAnnotation || key === refNameAnnotation;
  return Object.fromEntries(Object.entries(annotations).filter(isName));
}

/** The name of an image in the archive. An image without a name is in the default repository. Throws `NAME_INVALID`. */
export function nameInArchive(root: Annotated): ArchiveName {
  const text = nameTextOf(root);
  if (text === undefined) return { repository: defaultRepository, tag: undefined };
  try {
    if (isTagAlone(root, text)) return { repository: defaultRepository, ...readTag(text) };
    const name = parseReference(text);
    return { ...name, unusableTag: name.tag === undefined ? unusableTagOf(text) : undefined };
  } catch (error) {
    throw error instanceof StowageError ? withHint(text, error) : error;
  }
}

/**
 * Adds to an error that the name comes from the tarball, and how to load the tarball under another name. A user cannot
 * easily change the tarball.
 */
function withHint(text: string, error: StowageError): StowageError {
  const hint = `the tarball names an image ${quote(text)}; /v1/load/NAME:TAG gives it another name`;
  return new StowageError(error.code, `${error.message}; ${hint}`, { cause: error, detail: error.detail ?? {} });
}

/**
 * Reads only the tag, for a request that names the repository. The name may be invalid: the tag of `My App:1.4` is
 * `1.4`. Throws `NAME_INVALID`.
 */
export function tagInArchive(root: Annotated): Pick<ArchiveName, "tag" | "unusableTag"> {
  const text = nameTextOf(root);
  if (text === undefined) return { tag: undefined };
  if (isTagAlone(root, text)) return readTag(text);
  const tag = tagOfReference(text);
  return { tag, unusableTag: tag === undefined ? unusableTagOf(text) : undefined };
}

/**
 * Is the text a tag without a repository? The text may be longer than a registry allows. A name of containerd always
 * has a repository.
 */
export function isTagAlone({ annotations }: Annotated, text = ""): boolean {
  return annotations?.[containerdNameAnnotation] === undefined && !/[/:@]/.test(text);
}

function readTag(text: string): Pick<ArchiveName, "tag" | "unusableTag"> {
  const tag = usableTag(text);
  return { tag, unusableTag: tag === undefined ? text : undefined };
}

/** The endings of a tarball's file name, in upper or lower case. */
const fileName = /\.(?:tar|tar\.gz|tgz|tar\.zst)$/i;

/**
 * Reads the text after `/v1/load/`, or after `incoming/` in a key, such as `team/app:1.4`. Returns undefined for an
 * empty text: the images then keep the names in the tarball. A file name such as `app.tar` counts as empty too, because
 * `curl -T app.tar …/v1/load/` appends the file name to the path. Throws `NAME_INVALID`.
 */
export function parseLoadPath(text: string): ImageName | undefined {
  if (text === "" || fileName.test(text)) return undefined;
  if (!text.endsWith("/")) return parseName(text);
  const message =
    `Cannot use ${JSON.stringify(text.slice(0, 300))} as a name: found a slash at its end, expected NAME[:TAG], ` +
    "or nothing for the names in the tarball";
  throw new StowageError("NAME_INVALID", message);
}
