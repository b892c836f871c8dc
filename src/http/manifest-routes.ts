/**
 * `GET`, `HEAD`, `PUT` and `DELETE /v2/<name>/manifests/<reference>` (distribution specification, "Pulling manifests",
 * "Pushing Manifests", "Deleting tags" and "Deleting Manifests").
 */
import type { Context } from "hono";
import { deleteImage } from "../registry/delete-image.ts";
import { pushManifest } from "../push/push-manifest.ts";
import { type FoundManifest, findManifest, unknownManifest } from "../registry/find-manifest.ts";
import { smallObjectBytes } from "../storage/read-small-object.ts";
import { callerName, requesterOf } from "./authentication.ts";
import { contentHeaders, expectationOf, matchesEtag, notModified } from "./conditions.ts";
import { pushWaiterOf } from "./push-routes.ts";
import { RequestRecord } from "./request-record.ts";
import { pathAbove } from "./request-url.ts";
import { type Route, route } from "./route.ts";
import type { Service } from "./service.ts";
import { readSmallBody } from "./small-body.ts";

export function manifestRoutes(service: Service): Route[] {
  const { layout, answers, immutableTags } = service;
  return [
    route({
      methods: ["GET"],
      path: "/v2/<name>/manifests/<reference>",
      needs: "pull",
      headAlsoFor: "load",
      async answer(c, { name, reference }) {
        const found = await findManifest(layout, { repository: name, reference }, requesterOf(c));
        const { digest, mediaType, size, bytes } = withoutLarge(found);
        if (matchesEtag(c.req.header("If-None-Match"), digest)) return notModified(digest);
        const headers = { ...contentHeaders(digest, size), "Content-Type": mediaType };
        if (c.req.method === "HEAD") return new Response(null, { headers });
        if (bytes !== undefined) return new Response(bytes, { headers });
        const blob = await answers.openBlob(c, digest);
        if (blob?.size === size) return new Response(blob.body, { headers });
        await blob?.body.cancel();
        throw unknownManifest(name, reference); // it was deleted just now
      },
    }),
    route({
      methods: ["PUT"],
      path: "/v2/<name>/manifests/<reference>",
      needs: "load",
      query: ["tag"],
      async answer(c, { name, reference }) {
        const mediaType = c.req.header("Content-Type")?.split(";", 1)[0]?.trim();
        const expects = expectationOf(c);
        const moreTags = c.req.queries("tag") ?? [];
        const limits = {
          maxBytes: layout.limits.maxManifestBytes,
          memoryPerByte: 2,
          limit: "maxManifestBytes",
          takeTurn: async (signal: AbortSignal) => service.pushes.acquire(1, pushWaiterOf(c, signal)),
        };
        const pushed = await readSmallBody(c, service, limits, async ({ bytes, release, signal }) => {
          const manifest = { repository: name, reference, tags: moreTags, mediaType, bytes };
          const options = { caller: callerName(c), signal, immutableTags, expects, onKept: release };
          return pushManifest(layout, manifest, options);
        });
        const { digest, subject, tags } = pushed;
        service.report({ event: "push", ...changeOf(c), repository: name, reference, digest });
        return c.body(null, 201, {
          Location: `${pathAbove(c, 1)}/${digest}`,
          "Docker-Content-Digest": digest,
          ...(subject !== undefined && { "OCI-Subject": subject }),
          ...(moreTags.length > 0 && { "OCI-Tag": tags.join(", ") }),
        });
      },
    }),
    route({
      methods: ["DELETE"],
      path: "/v2/<name>/manifests/<reference>",
      needs: "delete",
      async answer(c, { name, reference }) {
        const options = { ...requesterOf(c), immutableTags, expects: expectationOf(c) };
        const digest = await deleteImage(layout, { repository: name, reference }, options);
        service.report({ event: "delete", ...changeOf(c), repository: name, reference, digest });
        return c.body(null, 202, { "Docker-Content-Digest": digest });
      },
    }),
  ];
}

function changeOf(c: Context): { readonly id: string | undefined; readonly caller: string } {
  return { id: RequestRecord.of(c)?.id, caller: callerName(c) };
}

/**
 * Leaves the bytes of a large manifest out, so that it is sent like a blob. Otherwise they would stay in memory until a
 * slow client has read them.
 */
function withoutLarge({ digest, mediaType, bytes }: FoundManifest): Omit<FoundManifest, "bytes"> & {
  readonly size: number;
  readonly bytes: Uint8Array | undefined;
} {
  return { digest, mediaType, size: bytes.length, bytes: bytes.length <= smallObjectBytes ? bytes : undefined };
}
