/** The placeholders of paths, and the headers of requests and answers. */
import { algorithmNames, digestPattern } from "../../digest.ts";
import type { JsonObject } from "../../oci/json.ts";
import { platformPattern } from "../../oci/descriptor.ts";
import { maxNameLength, namePattern, tagPattern } from "../../oci/reference.ts";

interface Described {
  readonly description: string;
  readonly schema: JsonObject;
}

export const digest: JsonObject = { type: "string", pattern: digestPattern.source };
export const platform: JsonObject = { type: "string", pattern: platformPattern.source };
const name: JsonObject = { type: "string", maxLength: maxNameLength, pattern: namePattern.source };
export const tag: JsonObject = { type: "string", pattern: tagPattern.source };
/** `NAME[:TAG][@DIGEST]`, of the patterns above. */
export const imageName: JsonObject = {
  type: "string",
  minLength: 1,
  pattern: `${namePattern.source.slice(0, -1)}(?::${inner(tagPattern)})?(?:@${inner(digestPattern)})?$`,
};
const count: JsonObject = { type: "integer", minimum: 0 };
const url: JsonObject = { type: "string", format: "uri-reference" };

const encodedSlash = "A slash may be sent as it is, or as `%2F`.";

export const placeholders: Readonly<Record<string, Described>> = {
  name: { description: `The name of a repository, such as \`team/app\`. ${encodedSlash}`, schema: name },
  image: {
    description: `An image: \`NAME[:TAG][@DIGEST]\`, such as \`team/app:1.4\`. ${encodedSlash}`,
    schema: imageName,
  },
  reference: { description: "A tag or a digest.", schema: { anyOf: [tag, digest] } },
  digest: { description: "`sha256:` or `sha512:` and lower-case hex digits.", schema: digest },
  session: { description: "The session of a push: the last part of its Location.", schema: { type: "string" } },
  id: { description: "The id of an upload.", schema: { type: "string", pattern: "^[0-9a-f]{32}$" } },
  number: {
    description: "The number of a part.",
    schema: { type: "integer", minimum: 1, maximum: 10_000 },
  },
};

export const headerParameters: Readonly<Record<string, Described>> = {
  "If-Match": {
    description: 'Change the tag only if it has this digest, such as `"sha256:…"` with its quotes.',
    schema: { type: "string", pattern: `^"${inner(digestPattern)}"$` },
  },
  "If-None-Match": {
    description: "Digests in quotes: the answer is 304 if the content has one of them.",
    schema: { type: "string" },
  },
  "If-None-Match *": {
    description: "`*`: make the change only if the tag does not exist. Not together with `If-Match`.",
    schema: { const: "*" },
  },
  Range: { description: "One range of bytes, such as `bytes=0-1023`.", schema: { type: "string" } },
  "If-Range": { description: "Send the range only if the content has this digest.", schema: { type: "string" } },
  "Content-Encoding": {
    description: "How the body is compressed. Without the header the first bytes tell.",
    schema: { enum: ["gzip", "zstd", "identity"] },
  },
  "Content-Range": {
    description: "The place of the chunk in the blob: `<first>-<last>`. Without it the chunk follows what has come.",
    schema: { type: "string", pattern: "^(?:bytes[ =])?\\d{1,15}-\\d{1,15}(?:/(?:\\d+|\\*))?$" },
  },
};

export const answerHeaders: Readonly<Record<string, Described>> = {
  "Accept-Ranges": { description: "Ranges of bytes can be asked for.", schema: { const: "bytes" } },
  "Content-Disposition": { description: "A name for the file.", schema: { type: "string" } },
  "Content-Length": { description: "The number of bytes.", schema: count },
  "Content-Range": { description: "The bytes of the range, and of the whole.", schema: { type: "string" } },
  "Docker-Content-Digest": { description: "The digest of the content.", schema: digest },
  "Docker-Distribution-Api-Version": { description: "The protocol.", schema: { const: "registry/2.0" } },
  "Docker-Upload-UUID": { description: "The session.", schema: { type: "string" } },
  ETag: { description: "The digest of the content, in quotes.", schema: { type: "string" } },
  Link: { description: 'The next page: `<URL>; rel="next"`.', schema: { type: "string" } },
  Location: { description: "Where to go on, or where the content is now.", schema: url },
  "OCI-Chunk-Min-Length": { description: "Chunks should have this many bytes.", schema: count },
  "OCI-Filters-Applied": { description: "The filter of the list.", schema: { const: "artifactType" } },
  "OCI-Subject": { description: "The manifest that the pushed one refers to.", schema: digest },
  "OCI-Tag": { description: "The tags of `?tag=`.", schema: { type: "string" } },
  Range: { description: "The bytes that have come: `0-<last>`.", schema: { type: "string", pattern: "^0-\\d+$" } },
  "Retry-After": { description: "Seconds until another try is useful.", schema: count },
  "WWW-Authenticate": { description: "How to show a token.", schema: { type: "string" } },
};

export const digestAlgorithm: JsonObject = { enum: algorithmNames };

/** A pattern without its anchors. */
function inner({ source }: RegExp): string {
  return `(?:${source.replace(/^\^|\$$/g, "")})`;
}
