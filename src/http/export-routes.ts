/** `GET` and `HEAD /v1/export/<name>[:<tag>|@<digest>]`: images as a tarball that engines load. */
import type { Context } from "hono";
import { hexOf } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { packArchive } from "../export/pack-archive.ts";
import { type ExportPlan, type WantedImage, planExport } from "../export/plan-export.ts";
import { stageExport } from "../export/stage-export.ts";
import { LayoutSource } from "../layout/layout-source.ts";
import { parsePlatform } from "../oci/descriptor.ts";
import { type ImageName, formatName, parseImageName } from "../oci/reference.ts";
import { findManifest, unknownManifest } from "../registry/find-manifest.ts";
import { type ArchiveAnswer } from "./answers.ts";
import { authorize, requesterOf } from "./authentication.ts";
import { fitsAnswer, urlSeconds } from "./blob-routes.ts";
import { matchesEtag } from "./conditions.ts";
import { readFlag } from "./request-url.ts";
import { type Route, route } from "./route.ts";
import type { Service } from "./service.ts";

export function exportRoutes(service: Service): Route[] {
  return [
    route({
      methods: ["GET"],
      path: "/v1/export/<image>",
      needs: "pull",
      query: ["image", "platform", "referrers"],
      async answer(c, { image }) {
        const names = [image, ...(c.req.queries("image") ?? [])].map(parseImageName);
        for (const { repository } of names) authorize(c, "pull", repository);
        const platforms = (c.req.queries("platform") ?? []).map(parsePlatform);
        const referrers = readFlag(c, "referrers");
        return service.answers.sendArchive(c, async () => {
          const images: WantedImage[] = [];
          for (const name of names) images.push(await find(c, service, name));
          const { caller, signal } = requesterOf(c);
          const source = new LayoutSource(service.layout, { caller });
          const plan = await planExport(source, images, { platforms, referrers, signal });
          return answerPlan(c, service, plan, names);
        });
      },
    }),
  ];
}

async function find(c: Context, { layout }: Service, name: ImageName): Promise<WantedImage> {
  const { repository, tag, digest: expected } = name;
  const { digest, mediaType, bytes } = await findManifest(
    layout,
    { repository, reference: tag ?? expected ?? "" },
    requesterOf(c),
  );
  if (expected !== undefined && digest !== expected) throw unknownManifest(repository, formatName(name));
  return { repository, name, digest, mediaType, size: bytes.length };
}

async function answerPlan(
  c: Context,
  service: Service,
  plan: ExportPlan,
  names: readonly ImageName[],
): Promise<ArchiveAnswer | Response> {
  const { etag, size } = plan;
  const cacheHeaders = { ETag: `"${etag}"` };
  if (matchesEtag(c.req.header("If-None-Match"), etag))
    return new Response(null, { status: 304, headers: cacheHeaders });
  const headers = {
    ...cacheHeaders,
    "Content-Type": "application/x-tar",
    "Content-Length": String(size),
    "Content-Disposition": `attachment; filename="${fileName(names)}"`,
  };
  if (c.req.method === "HEAD") return new Response(null, { headers });
  if (fitsAnswer(size, service)) return { headers, pack: (open) => packArchive(plan, open) };
  const url = await stageExport(service.layout, plan, { ...requesterOf(c), seconds: urlSeconds });
  if (url === undefined) throw tooLarge(size, service.maxResponseBytes);
  const redirect = { Location: url, "Content-Length": "0", "Cache-Control": "no-store" };
  return new Response(null, { status: 307, headers: redirect });
}

/** `app-1.4.tar` for `team/app:1.4`. */
function fileName([first, ...others]: readonly ImageName[]): string {
  if (first === undefined || others.length > 0) return "images.tar";
  const { repository, tag, digest } = first;
  const end = tag ?? (digest && hexOf(digest).slice(0, 12));
  return `${repository.slice(repository.lastIndexOf("/") + 1)}-${end}.tar`;
}

function tooLarge(found: number, expected: number | undefined): StowageError {
  const message =
    `Cannot send a tarball of ${found} bytes: the platform lets ${expected} through, and the store has no ` +
    "presigned URLs";
  return new StowageError("UNSUPPORTED", message, { detail: { found, expected } });
}
