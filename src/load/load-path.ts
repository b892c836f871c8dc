/** What the text behind `/v1/load/`, or a key under `incoming/`, says of the image's name. */
import { StowageError } from "../errors.ts";
import { type ImageName, parseName } from "../oci/reference.ts";

/** The endings of tarballs that are taken for the name of a file, in any case. */
const fileName = /\.(?:tar|tar\.gz|tgz|tar\.zst)$/i;

/**
 * Reads the text: `team/app:1.4` is a name. Nothing at all, or a file's name such as `app.tar`, is none, and the images keep
 * the names in the tarball: `curl -T app.tar …/v1/load/` appends the name of the file. Throws `NAME_INVALID`.
 */
export function parseLoadPath(text: string): ImageName | undefined {
  if (text === "" || fileName.test(text)) return undefined;
  if (!text.endsWith("/")) return parseName(text);
  const message =
    `Cannot use ${JSON.stringify(text.slice(0, 300))} as a name: found a slash at its end, expected NAME[:TAG], ` +
    "or nothing for the names in the tarball";
  throw new StowageError("NAME_INVALID", message);
}
