/**
 * `GET`, `HEAD` and `DELETE /v2/<name>/manifests/<reference>` (distribution specification, "Pulling manifests" and
 * "Deleting Images").
 */
import { deleteImage } from "../manage/delete-image.ts";
import { formatReference } from "../oci/reference.ts";
import { findManifest } from "../pull/find-manifest.ts";
import { callerName } from "./authentication.ts";
import { expectationOf, isFresh } from "./conditions.ts";
import { contentHeaders, notModified } from "./content.ts";
import { type Route, route } from "./route.ts";
import type { Service } from "./service.ts";

export function manifestRoutes(service: Service): Route[] {
  return [
    route({
      methods: ["GET"],
      path: "/v2/<name>/manifests/<reference>",
      needs: "pull",
      async answer(c, { name, reference }) {
        const manifest = await findManifest(name, reference, {
          ...service,
          caller: callerName(c),
          signal: c.req.raw.signal,
        });
        if (isFresh(c.req.header("If-None-Match"), manifest.digest)) return notModified(manifest.digest);
        const { digest, bytes, mediaType } = manifest;
        const headers = { ...contentHeaders(digest, bytes.length), "Content-Type": mediaType };
        return new Response(c.req.method === "HEAD" ? null : bytes, { headers });
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
