/** The routes under `/v2`: the OCI distribution specification. */
import { dockerListType, dockerManifestType, ociIndexType, ociManifestType } from "../../oci/manifest.ts";
import { type Answer, type Operation, type QueryParameter, json, schema } from "./operation.ts";
import { digest, digestAlgorithm, tag } from "./parameters.ts";

const manifests = Object.fromEntries(
  [ociManifestType, ociIndexType, dockerManifestType, dockerListType].map((type) => [type, schema("Manifest")]),
);
const bytes = { "application/octet-stream": {} };

const page: Readonly<Record<string, QueryParameter>> = {
  n: { description: "At most this many names.", schema: { type: "integer", minimum: 0, maximum: 999_999_999 } },
  last: { description: "The names after this one.", schema: { type: "string" } },
};

const contentHeaders = ["Docker-Content-Digest", "ETag"];
const fresh: Answer = { description: "The client has it.", headers: contentHeaders };
const created: Answer = { description: "The blob is there.", headers: ["Location", "Docker-Content-Digest"] };
const sessionHeaders = ["Location", "Range", "Docker-Upload-UUID", "OCI-Chunk-Min-Length"];
const pending: Answer = { description: "More bytes can come.", headers: sessionHeaders };

const chunkErrors = [
  "DIGEST_INVALID",
  "INPUT_INVALID",
  "LIMIT_EXCEEDED",
  "NAME_INVALID",
  "SIZE_INVALID",
  "STORE_FULL",
  "TIMED_OUT",
  "UNSUPPORTED",
] as const;
const sessionErrors = ["BLOB_UPLOAD_UNKNOWN", "NAME_INVALID"] as const;
const changeErrors = ["COMMIT_CONFLICT", "CONDITION_FAILED", "INPUT_INVALID", "STORE_FULL", "TAG_IMMUTABLE"] as const;
const findErrors = ["DIGEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "UNSUPPORTED"] as const;

export const registryOperations: Readonly<Record<string, Operation>> = {
  "GET /v2/": {
    id: "checkRegistry",
    summary: "Says that a registry is here, and whether the token counts.",
    answers: {
      200: {
        description: "It is.",
        headers: ["Docker-Distribution-Api-Version", "WWW-Authenticate?"],
        content: { "application/json": { type: "object" } },
      },
    },
  },
  "GET /v2/_catalog": {
    id: "listRepositories",
    summary: "Lists the repositories from which the caller may pull.",
    query: page,
    answers: { 200: { description: "A page of names.", headers: ["Link?"], content: json("Repositories") } },
    errors: ["INPUT_INVALID"],
  },
  "GET /v2/<name>/tags/list": {
    id: "listTags",
    summary: "Lists the tags of a repository.",
    query: page,
    answers: { 200: { description: "A page of tags.", headers: ["Link?"], content: json("Tags") } },
    errors: ["INPUT_INVALID", "NAME_INVALID", "NAME_UNKNOWN"],
  },
  "GET /v2/<name>/manifests/<reference>": {
    id: "pullManifest",
    summary: "Sends a manifest or an index.",
    headers: ["If-None-Match"],
    answers: {
      200: { description: "Its bytes.", headers: ["Content-Length", ...contentHeaders], content: manifests },
      304: fresh,
    },
    errors: findErrors,
  },
  "PUT /v2/<name>/manifests/<reference>": {
    id: "pushManifest",
    summary: "Publishes a manifest or an index. Everything that it names must be in the store.",
    query: {
      tag: { description: "One more tag of the image.", schema: { type: "array", items: tag } },
    },
    headers: ["If-Match", "If-None-Match *"],
    body: { description: "The manifest, with its media type as Content-Type.", required: true, content: manifests },
    answers: {
      201: {
        description: "The image is published.",
        headers: ["Location", "Docker-Content-Digest", "OCI-Subject?", "OCI-Tag?"],
      },
    },
    errors: [
      ...changeErrors,
      "DIGEST_INVALID",
      "LIMIT_EXCEEDED",
      "MANIFEST_BLOB_UNKNOWN",
      "MANIFEST_INVALID",
      "NAME_INVALID",
      "SIZE_INVALID",
      "TIMED_OUT",
      "UNSUPPORTED",
    ],
  },
  "DELETE /v2/<name>/manifests/<reference>": {
    id: "deleteImage",
    summary: "Deletes a tag, or an image with all of its tags.",
    headers: ["If-Match", "If-None-Match *"],
    answers: { 202: { description: "It is gone.", headers: ["Docker-Content-Digest"] } },
    errors: [...findErrors, ...changeErrors],
  },
  "GET /v2/<name>/blobs/<digest>": {
    id: "pullBlob",
    summary: "Sends a blob, or a range of it.",
    headers: ["Range", "If-Range", "If-None-Match"],
    answers: {
      200: {
        description: "Its bytes.",
        headers: ["Content-Length", "Accept-Ranges", ...contentHeaders],
        content: bytes,
      },
      206: { description: "The range.", headers: ["Content-Length", "Content-Range"], content: bytes },
      304: fresh,
      307: { description: "The blob is in the bucket.", headers: ["Location"] },
    },
    errors: ["BLOB_UNKNOWN", "DIGEST_INVALID", "NAME_INVALID", "RANGE_INVALID", "UNSUPPORTED"],
  },
  "GET /v2/<name>/referrers/<digest>": {
    id: "listReferrers",
    summary: "Lists the manifests that refer to this one, such as signatures.",
    query: {
      artifactType: { description: "Only those of this type.", schema: { type: "string" } },
      last: { description: "The referrers after this one, as the Link says.", schema: { type: "string" } },
    },
    answers: {
      200: {
        description: "A page of descriptors.",
        headers: ["Link?", "OCI-Filters-Applied?"],
        content: { [ociIndexType]: schema("Referrers") },
      },
    },
    errors: ["DIGEST_INVALID", "INPUT_INVALID", "NAME_INVALID"],
  },
  "POST /v2/<name>/blobs/uploads/": {
    id: "beginPush",
    summary: "Begins the push of a blob, takes the whole blob, or mounts one.",
    query: {
      digest: {
        description: "The body is the whole blob, with this digest. Not used together with `mount`.",
        schema: { type: "string" },
      },
      mount: {
        description:
          "Take the blob with this digest out of another repository. If that cannot be done, the push begins.",
        schema: { type: "string" },
      },
      from: {
        description: "The repository of `mount`. Without it, the repository of the path.",
        schema: { type: "string" },
      },
      "digest-algorithm": { description: "The algorithm of the digest that will come.", schema: digestAlgorithm },
    },
    body: { description: "The blob, with `?digest=`.", content: bytes },
    answers: { 201: created, 202: pending },
    errors: chunkErrors,
  },
  "PATCH /v2/<name>/blobs/uploads/<session>": {
    id: "pushChunk",
    summary: "Takes a chunk of a blob, or all of it.",
    headers: ["Content-Range"],
    body: { description: "The chunk.", required: true, content: bytes },
    answers: { 202: pending },
    errors: [...chunkErrors, ...sessionErrors, "RANGE_INVALID"],
  },
  "PUT /v2/<name>/blobs/uploads/<session>": {
    id: "endPush",
    summary: "Takes the last chunk, if there is one, and checks the digest.",
    query: { digest: { description: "The digest of the blob.", required: true, schema: digest } },
    headers: ["Content-Range"],
    body: { description: "The last chunk.", content: bytes },
    answers: { 201: created },
    errors: [...chunkErrors, ...sessionErrors, "BLOB_UPLOAD_INVALID", "RANGE_INVALID"],
  },
  "GET /v2/<name>/blobs/uploads/<session>": {
    id: "describePush",
    summary: "Says how many bytes have come.",
    answers: { 204: { description: "`Range` says it.", headers: sessionHeaders } },
    errors: sessionErrors,
  },
  "DELETE /v2/<name>/blobs/uploads/<session>": {
    id: "cancelPush",
    summary: "Deletes the bytes that have come.",
    description: "A push without bytes leaves nothing in the store. So its session can be used again.",
    answers: { 204: { description: "It is gone." } },
    errors: sessionErrors,
  },
};
