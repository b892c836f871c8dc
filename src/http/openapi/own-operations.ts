/**
 * Stowage's own routes: loads, uploads in parts, exports and copies under `/v1`, `/metrics`, and those that anyone may
 * ask.
 */
import type { JsonObject } from "../../oci/json.ts";
import { durationPattern } from "../../settings/parse-quantity.ts";
import { type Answer, type Operation, type QueryParameter, json, schema } from "./operation.ts";
import { imageName, platform } from "./parameters.ts";

const flag: JsonObject = { type: "boolean", default: false };

const tarball = {
  description: "A tarball of `docker save`, or any OCI layout as a tarball. It may be compressed with gzip or zstd.",
  required: true,
  content: { "application/x-tar": {}, "application/gzip": {}, "application/zstd": {}, "application/octet-stream": {} },
};

const loadQuery: Readonly<Record<string, QueryParameter>> = {
  verbose: { description: "The receipt lists each blob too.", schema: flag },
  repair: { description: "Read the blobs that are there, and write damaged ones again.", schema: flag },
  copyTo: {
    description: "Copy the images to these targets too. Needs the action `copy`.",
    schema: { type: "array", items: { type: "string" }, minItems: 1 },
    explode: false,
  },
  expires: {
    description: "Gives the images an end: they are dropped after this time.",
    schema: { type: "string", pattern: durationPattern.source },
  },
};

const receipts: Readonly<Record<number, Answer>> = {
  200: { description: "Nothing has changed.", content: json("Receipt") },
  201: { description: "The images are published.", content: json("Receipt") },
};

const conditions = ["If-Match", "If-None-Match *"];

const commitErrors = ["COMMIT_CONFLICT", "CONDITION_FAILED", "STORE_FULL", "TAG_IMMUTABLE"] as const;

const loadErrors = [
  ...commitErrors,
  "ARCHIVE_INVALID",
  "COPY_FAILED",
  "DIGEST_INVALID",
  "INDEX_INVALID",
  "INPUT_INVALID",
  "LIMIT_EXCEEDED",
  "MANIFEST_BLOB_UNKNOWN",
  "MANIFEST_INVALID",
  "NAME_INVALID",
  "SIZE_INVALID",
  "TIMED_OUT",
  "UNSUPPORTED",
] as const;

function load(id: string, summary: string): Operation {
  return {
    id,
    summary,
    query: loadQuery,
    headers: ["Content-Encoding", ...conditions],
    body: tarball,
    answers: receipts,
    errors: [...loadErrors, { code: "UNSUPPORTED", status: 415 }],
  };
}

function loadUpload(id: string, summary: string): Operation {
  return {
    id,
    summary,
    query: loadQuery,
    headers: conditions,
    answers: receipts,
    errors: [...loadErrors, "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN"],
  };
}

const upload: Answer = { description: "The upload and its parts.", content: json("Upload") };
const text = { "text/plain": { type: "string" } } as const;
const uploadErrors = ["BLOB_UPLOAD_UNKNOWN", "INPUT_INVALID"] as const;

export const ownOperations: Readonly<Record<string, Operation>> = {
  "PUT /v1/load": load("load", "Loads the images of a tarball, under the names in the tarball."),
  "POST /v1/load": load("loadByPost", "As PUT."),
  "PUT /v1/load/": load("loadFromFolder", "As `/v1/load`: `curl -T app.tar …/v1/load/` may append a file name."),
  "POST /v1/load/": load("loadFromFolderByPost", "As PUT."),
  "PUT /v1/load/<image>": load("loadAs", "Loads the image of a tarball under this name."),
  "POST /v1/load/<image>": load("loadAsByPost", "As PUT."),
  "POST /v1/blobs/missing": {
    id: "findMissingBlobs",
    summary: "Says which of these blobs the store lacks.",
    body: { description: "The digests.", required: true, content: json("MissingRequest") },
    answers: { 200: { description: "The missing ones.", content: json("Missing") } },
    errors: ["INPUT_INVALID", "LIMIT_EXCEEDED", "TIMED_OUT"],
  },
  "POST /v1/uploads": {
    id: "beginUpload",
    summary: "Begins an upload of a tarball in parts, or finds it again.",
    body: { description: "What will come.", required: true, content: json("UploadRequest") },
    answers: { 200: { ...upload, headers: ["Location"] }, 201: { ...upload, headers: ["Location"] } },
    errors: ["COMMIT_CONFLICT", "INPUT_INVALID", "LIMIT_EXCEEDED", "STORE_FULL", "TIMED_OUT", "UNSUPPORTED"],
  },
  "GET /v1/uploads/<id>": {
    id: "describeUpload",
    summary: "Lists the parts of an upload, and which have come.",
    answers: { 200: upload },
    errors: uploadErrors,
  },
  "DELETE /v1/uploads/<id>": {
    id: "deleteUpload",
    summary: "Gives up an upload.",
    answers: { 204: { description: "It is gone." } },
    errors: uploadErrors,
  },
  "PUT /v1/uploads/<id>/parts/<number>": {
    id: "putPart",
    summary: "Stores a part, if the store has no URL for it. The URL comes from the upload and is a secret.",
    query: {
      key: { description: "The secret of the upload.", required: true, schema: { type: "string" } },
    },
    body: {
      description: "The bytes of the part.",
      required: true,
      content: { "application/octet-stream": {} },
    },
    answers: { 201: { description: "The part is in the store." } },
    errors: [...uploadErrors, "SIZE_INVALID", "STORE_FULL", "TIMED_OUT"],
  },
  "POST /v1/uploads/<id>/load": loadUpload("loadUpload", "Loads an upload whose parts have come, as `/v1/load`."),
  "POST /v1/uploads/<id>/load/": loadUpload("loadUploadFromFolder", "As without the slash at the end."),
  "POST /v1/uploads/<id>/load/<image>": loadUpload("loadUploadAs", "Loads an upload under this name."),
  "GET /v1/export/<image>": {
    id: "exportImages",
    summary: "Sends images as a tarball that `docker load` takes. Without a tag the tag is `latest`.",
    query: {
      image: {
        description: "More images.",
        schema: { type: "array", items: imageName },
      },
      platform: {
        description: "Only these platforms of an index, such as `linux/arm64`.",
        schema: { type: "array", items: platform },
      },
      referrers: { description: "Signatures and other referrers too.", schema: flag },
    },
    headers: ["If-None-Match"],
    answers: {
      200: {
        description: "The tarball.",
        headers: ["Content-Length", "Content-Disposition", "ETag"],
        content: { "application/x-tar": {} },
      },
      304: { description: "The client has it.", headers: ["ETag"] },
      307: { description: "The tarball is too large for the platform: it is in the bucket.", headers: ["Location"] },
    },
    errors: [
      "BLOB_UNKNOWN",
      "INPUT_INVALID",
      "LIMIT_EXCEEDED",
      "MANIFEST_UNKNOWN",
      "NAME_INVALID",
      "NAME_UNKNOWN",
      "STORE_FULL",
      "UNSUPPORTED",
    ],
  },
  "POST /v1/copy": {
    id: "copyImages",
    summary: "Copies images to targets of the settings.",
    body: { description: "What to copy.", required: true, content: { "application/json": schema("CopyRequest") } },
    answers: { 200: { description: "All images are in all targets.", content: json("CopyReceipt") } },
    errors: [
      "COPY_FAILED",
      "INPUT_INVALID",
      "LIMIT_EXCEEDED",
      "MANIFEST_UNKNOWN",
      "NAME_INVALID",
      "NAME_UNKNOWN",
      "TIMED_OUT",
    ],
  },
  "GET /metrics": {
    id: "readMetrics",
    summary: "Sends metrics for Prometheus. Not every service has them.",
    answers: { 200: { description: "All metrics.", content: text } },
  },
};

/** The routes that anyone may ask, without a look at a token. `app.ts` serves them beside all others. */
export const publicOperations: Readonly<Record<string, Operation>> = {
  "GET /healthz": {
    id: "checkHealth",
    summary: "The service lives.",
    answers: { 200: { description: "It does.", content: text } },
  },
  "GET /readyz": {
    id: "checkReadiness",
    summary: "The store answers. One look at the store counts for 5 seconds.",
    answers: { 200: { description: "It does.", content: text } },
    errors: ["STORE_UNAVAILABLE"],
  },
  "GET /openapi.json": {
    id: "describeRoutes",
    summary: "This description.",
    answers: { 200: { description: "OpenAPI 3.1.", content: { "application/json": { type: "object" } } } },
  },
};
