/**
 * `GET`, `HEAD` and `DELETE /v2/<name>/manifests/<reference>` (distribution specification, "Pulling manifests" and
 * "Deleting Images").
 */
import { deleteImage } from "../manage/delete-image.ts";
import { formatReference } from "../oci/reference.ts";
import { type ManifestContent, findManifest, readContent, unknownManifest } from "../pull/find-manifest.ts";
import { SharedReads } from "../pull/shared-reads.ts";
import { smallObjectBytes } from "../storage/read-small-object.ts";
import { callerName } from "./authentication.ts";
import { expectationOf, isFresh } from "./conditions.ts";
import { contentHeaders, notModified } from "./content.ts";
import { type Route, route } from "./route.ts";
import type { Service } from "./service.ts";

export function manifestRoutes(service: Service): Route[] {
  const { answers } = service;
  /** Requests of one caller for one manifest share its read: a large one takes 20 ms to check, and memory meanwhile. */
  const reads = new SharedReads<ManifestContent | undefined>();
  return [
    route({
      methods: ["GET"],
      path: "/v2/<name>/manifests/<reference>",
      needs: "pull",
      async answer(c, { name, reference }) {
        const caller = callerName(c);
        const { signal } = c.req.raw;
        const { digest, mediaType, size, bytes } = await findManifest(name, reference, {
          ...service,
          caller,
          signal,
          read: async (at, declaredType) => {
            const readOnce = async (): Promise<ManifestContent | undefined> =>
              answers.withMemory(caller, async (memory) =>
                withoutLarge(await readContent(at, { ...service, declaredType, memory, signal: undefined })),
              );
            return reads.read(`${at} ${declaredType} ${caller}`, readOnce, signal);
          },
        });
        if (isFresh(c.req.header("If-None-Match"), digest)) return notModified(digest);
        const headers = { ...contentHeaders(digest, size), "Content-Type": mediaType };
        if (c.req.method === "HEAD") return new Response(null, { headers });
        if (bytes !== undefined) return new Response(bytes, { headers });
        const blob = await answers.openBlob(c, digest);
        if (blob?.size === size) return new Response(blob.body, { headers });
        await blob?.body.cancel();
        throw unknownManifest(name, reference); // somebody deleted it just now
      },
    }),
    route({
      methods: ["DELETE"],
      path: "/v2/<name>/manifests/<reference>",
      needs: "delete",
      async answer(c, { name, reference }) {
        const options = { ...service, caller: callerName(c), expects: expectationOf(c), signal: c.req.raw.signal };
        const digest = await deleteImage(name, reference, options);
        service.log(`${callerName(c)} deleted ${formatReference(name, reference)} (${digest})`);
        return c.body(null, 202, { "Docker-Content-Digest": digest });
      },
    }),
  ];
}

/** The bytes of a large manifest are let go once they are checked. They are sent like a blob, as slowly as the client reads. */
function withoutLarge(content: ManifestContent | undefined): ManifestContent | undefined {
  return content && content.size > smallObjectBytes ? { ...content, bytes: undefined } : content;
}
