/**
 * `GET`, `HEAD` and `DELETE /v2/<name>/manifests/<reference>` (distribution specification, "Pulling manifests" and
 * "Deleting Images").
 */
import { Hono } from "hono";
import { deleteImage } from "../manage/delete-image.ts";
import { formatReference, parseRepositoryName } from "../oci/reference.ts";
import { type FoundManifest, findManifest, unknownManifest } from "../pull/find-manifest.ts";
import { smallObjectBytes } from "../storage/read-small-object.ts";
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
  const { store, limits, answers } = service;
  const routes = new Hono();
  routes.get(manifestPath, async (c) => {
    const repository = parseRepositoryName(c.req.param("name"));
    authorize(c, "pull", repository);
    const reference = c.req.param("reference");
    const { digest, mediaType, size, bytes } = await answers.withMemory(c, async (memory) => {
      const options = { store, limits, memory, signal: c.req.raw.signal };
      return withoutLarge(await findManifest(repository, reference, options));
    });
    if (isFresh(c.req.header("If-None-Match"), digest)) return notModified(digest);
    const headers = { ...contentHeaders(digest, size), "Content-Type": mediaType };
    if (c.req.method === "HEAD") return new Response(null, { headers });
    if (bytes !== undefined) return new Response(bytes, { headers });
    const blob = await answers.openBlob(c, digest);
    if (blob?.size === size) return new Response(blob.body, { headers });
    await blob?.body.cancel();
    throw unknownManifest(repository, reference); // somebody deleted it just now
  });
  routes.delete(manifestPath, async (c) => {
    const repository = parseRepositoryName(c.req.param("name"));
    authorize(c, "delete", repository);
    const reference = c.req.param("reference");
    const options = { ...service, expects: expectationOf(c), signal: c.req.raw.signal };
    const digest = await deleteImage(repository, reference, options);
    service.log(`${callerName(c)} deleted ${formatReference(repository, reference)} (${digest})`);
    return c.body(null, 202, { "Docker-Content-Digest": digest });
  });
  return routes;
}

type Manifest = Omit<FoundManifest, "bytes"> & { readonly size: number; readonly bytes: Uint8Array | undefined };

/** The bytes of a large manifest are let go once they are checked. They are sent like a blob, as slowly as the client reads. */
function withoutLarge({ digest, mediaType, bytes }: FoundManifest): Manifest {
  return { digest, mediaType, size: bytes.length, bytes: bytes.length <= smallObjectBytes ? bytes : undefined };
}
