/** The schemas of bodies and answers, as `components.schemas` has them. */
import type { JsonObject } from "../../oci/json.ts";
import { ociIndexType } from "../../oci/manifest.ts";
import { digest, platform } from "./parameters.ts";
import { schema } from "./operation.ts";

const text: JsonObject = { type: "string" };
const count: JsonObject = { type: "integer", minimum: 0 };

/** An object with these properties. Those with `?` at the end of their name can be absent. */
function object(properties: Readonly<Record<string, JsonObject>>, description?: string): JsonObject {
  const names = Object.keys(properties);
  return {
    type: "object",
    ...(description !== undefined && { description }),
    required: names.filter((name) => !name.endsWith("?")),
    properties: Object.fromEntries(Object.entries(properties).map(([name, value]) => [name.replace(/\?$/, ""), value])),
  };
}

function listOf(items: JsonObject): JsonObject {
  return { type: "array", items };
}

function described(description: string, value: JsonObject): JsonObject {
  return { ...value, description };
}

const amount = object({ blobs: count, bytes: count });
const status: JsonObject = { enum: ["created", "updated", "unchanged"] };

export const schemas: Readonly<Record<string, JsonObject>> = {
  Errors: object(
    {
      errors: {
        ...listOf(
          object({
            code: described("A stable name. Later versions may add names.", text),
            message: described("What could not be done, what was found, and what was expected.", text),
            "detail?": described("The same facts for programs.", { type: "object" }),
          }),
        ),
        minItems: 1,
      },
    },
    'The errors of the distribution specification ("Error Codes").',
  ),
  Descriptor: object({
    mediaType: text,
    digest,
    size: count,
    "artifactType?": text,
    "annotations?": { type: "object", additionalProperties: text },
    "platform?": { type: "object" },
    "urls?": listOf(text),
  }),
  Manifest: described("An image manifest or an index (image specification), or Docker's.", {
    type: "object",
    required: ["schemaVersion"],
    properties: { schemaVersion: { const: 2 }, mediaType: text },
  }),
  Receipt: object({
    images: listOf(schema("LoadedImage")),
    totals: object({
      images: count,
      referrers: count,
      written: count,
      present: count,
      repaired: count,
      ignored: count,
    }),
    bytes: object({ received: count, written: count, present: count, repaired: count }),
    "copies?": described("What became of the images in each target.", listOf(schema("TargetReceipt"))),
    "blobs?": described(
      "Only with `?verbose=true`.",
      listOf(object({ digest, size: count, status: { enum: ["written", "present", "repaired"] } })),
    ),
    "ignored?": described(
      "Entries that no image needs, only with `?verbose=true`.",
      listOf(object({ path: text, reason: text })),
    ),
    "requests?": described("Requests to the store by kind, only with `?verbose=true`.", {
      type: "object",
      additionalProperties: count,
    }),
  }),
  LoadedImage: object({
    repository: text,
    reference: described("The tag, or the digest of an image without a tag.", text),
    digest,
    mediaType: text,
    size: described("Bytes of the manifest.", count),
    status,
    "previous?": described("The digest before.", digest),
    "expires?": described("The end of the image.", { type: "string", format: "date-time" }),
    "pull?": described("A command that pulls the image.", text),
    "absent?": described("Platforms that neither the tarball nor the store has.", listOf(schema("Descriptor"))),
    "unusableTag?": described("A tag of the tarball that no registry allows.", text),
  }),
  TargetReceipt: object({
    target: text,
    images: listOf(object({ repository: text, reference: text, digest, status, "previous?": digest })),
    failures: listOf(object({ repository: text, reference: text, code: text, message: text })),
    "blobs?": object({ total: amount, present: amount, copied: amount, copiedByStore: amount }),
  }),
  CopyRequest: {
    ...object({
      images: described("Images, or patterns such as `team/**:v*`.", { ...listOf(text), minItems: 1 }),
      to: described("Names of targets of the settings.", { ...listOf(text), minItems: 1 }),
      "platforms?": described("Only these platforms, such as `linux/arm64`.", listOf(platform)),
    }),
    additionalProperties: false,
  },
  CopyReceipt: object({ copies: listOf(schema("TargetReceipt")) }),
  MissingRequest: object({ digests: { ...listOf(digest), maxItems: 10_000 } }),
  Missing: object({
    missing: described("The digests that the store lacks.", listOf(digest)),
    directBytes: described("A larger tarball should be sent in parts.", count),
  }),
  UploadRequest: object({
    size: described("Bytes of the tarball.", { type: "integer", minimum: 1, maximum: Number.MAX_SAFE_INTEGER }),
    "fingerprint?": described(
      "The client's own name for the upload: a second request with it finds the upload again.",
      {
        type: "string",
        maxLength: 1024,
      },
    ),
  }),
  Upload: object({
    id: text,
    size: count,
    partBytes: count,
    parts: listOf(
      object({
        number: count,
        offset: count,
        size: count,
        present: described("The part is in the store.", { type: "boolean" }),
        url: described("For a PUT of the part. The URL is a secret.", text),
      }),
    ),
  }),
  Repositories: object({ repositories: listOf(text) }),
  Tags: object({ name: text, tags: listOf(text) }),
  Referrers: object({
    schemaVersion: { const: 2 },
    mediaType: { const: ociIndexType },
    manifests: listOf(schema("Descriptor")),
  }),
};
