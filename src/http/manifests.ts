/**
 * `GET`, `HEAD` and `DELETE /v2/<name>/manifests/<reference>` (distribution specification, "Pulling manifests" and
 * "Deleting Images").
 */
import { Hono } from "hono";
import { deleteImage } from "../manage/delete-image.ts";
import { formatReference, parseRepositoryName } from "../oci/reference.ts";
import { findManifest } from "../pull/find-manifest.ts";
import { authorize, callerName } from "./authentication.ts";
import { expectationOf, isFresh } from "./conditions.ts";
import { contentHeaders, notModified } from "./content.ts";
import type { Service } from "./service.ts";

/**
 * The tag is what follows the last `/manifests/`. Without looking ahead, Hono would take `manifests-1` for no tag, but the
 * route.
 */
const manifestPath = "/:name{.+(?=/manifests/[^/]+$)}/manifests/:reference";

export function manifestRoutes(service: Service): Hono {
  const routes = new Hono();
  routes.get(manifestPath, async (c) => {
    const repository = parseRepositoryName(c.req.param("name"));
    authorize(c, "pull", repository);
    const reference = c.req.param("reference");
    const options = { ...service, caller: callerName(c), signal: c.req.raw.signal };
    const manifest = await findManifest(repository, reference, options);
    if (isFresh(c.req.header("If-None-Match"), manifest.digest)) return notModified(manifest.digest);
    const headers = { ...contentHeaders(manifest.digest, manifest.bytes.length), "Content-Type": manifest.mediaType };
    return new Response(c.req.method === "HEAD" ? null : manifest.bytes, { headers });
  });
  routes.delete(manifestPath, async (c) => {
    const repository = parseRepositoryName(c.req.param("name"));
    authorize(c, "delete", repository);
    const reference = c.req.param("reference");
    const options = { ...service, caller: callerName(c), expects: expectationOf(c), signal: c.req.raw.signal };
    const digest = await deleteImage(repository, reference, options);
    service.log(`${callerName(c)} deleted ${formatReference(repository, reference)} (${digest})`);
    return c.body(null, 202, { "Docker-Content-Digest": digest });
  });
  return routes;
}
