/**
 * Lets the conformance suite push to a Stowage, which has no push yet: what the suite pushes is loaded by `/v1/load`. All
 * that is not a push is sent to the service itself by a redirect, so that its own answers are judged.
 */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import { type Context, Hono } from "hono";
import type { Digest } from "../../src/digest.ts";
import { isJsonObject } from "../../src/oci/json.ts";
import { sha256 } from "../support/bytes.ts";
import { type Layout, makeLayout, tarOf } from "../support/layout.ts";

/** Where blobs go that no manifest has named yet. */
const blobRepository = "conformance/blobs";

export interface PushGateway {
  readonly url: string;
  readonly close: () => Promise<void>;
}

export async function startPushGateway(service: string): Promise<PushGateway> {
  const server = createAdaptorServer({ fetch: gatewayTo(service).fetch });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    close: async () => {
      server.close();
      await once(server, "close");
    },
  };
}

function gatewayTo(service: string): Hono {
  const uploads = new Map<string, Buffer>();
  const app = new Hono();

  app.post("/v2/:name{.+}/blobs/uploads/", async (c) => {
    const { digest, mount } = c.req.query();
    if (digest !== undefined) return loadBlob(c, { service, digest, bytes: await bodyOf(c) });
    if (mount !== undefined) {
      const found = await fetch(`${service}/v2/${c.req.param("name")}/blobs/${mount}`, { method: "HEAD" });
      if (found.ok) return takenBlob(c, mount);
    }
    const id = crypto.randomUUID();
    uploads.set(id, Buffer.alloc(0));
    return c.body(null, 202, { Location: `${new URL(c.req.url).pathname}${id}` });
  });

  app.on(["GET", "PATCH", "PUT"], "/v2/:name{.+}/blobs/uploads/:id", async (c) => {
    const id = c.req.param("id");
    const before = uploads.get(id) ?? Buffer.alloc(0);
    const chunk = await bodyOf(c);
    const start = /^(\d+)-/.exec(c.req.header("Content-Range") ?? "")?.[1] ?? String(before.length);
    const isInOrder = Number(start) === before.length;
    const bytes = isInOrder ? Buffer.concat([before, chunk]) : before;
    uploads.set(id, bytes);
    const headers = { Location: new URL(c.req.url).pathname, Range: `0-${Math.max(0, bytes.length - 1)}` };
    if (!isInOrder) return c.body(null, 416, headers);
    if (c.req.method === "PUT") return loadBlob(c, { service, digest: c.req.query("digest") ?? "", bytes });
    return c.body(null, c.req.method === "GET" ? 204 : 202, headers);
  });

  app.put("/v2/:name{.+}/manifests/:reference", async (c) => loadManifest(c, service));

  app.all("*", (c) => c.redirect(service + pathOf(c), 307));
  return app;
}

interface PushedBlob {
  readonly service: string;
  /** What the suite says that it is, which is wrong at times: the service has to find out. */
  readonly digest: string;
  readonly bytes: Buffer;
}

/** With an image of no interest: an archive has to have one. */
async function loadBlob(c: Context, { service, digest, bytes }: PushedBlob): Promise<Response> {
  const image = makeLayout();
  const layout = { ...image, blobs: new Map([...image.blobs, [digest as Digest, bytes]]) };
  const answer = await load(layout, `${service}/v1/load/${blobRepository}`);
  return answer.ok ? takenBlob(c, digest) : answer;
}

function takenBlob(c: Context, digest: string): Response {
  const location = pathOf(c).replace(/uploads\/.*$/, digest);
  return c.body(null, 201, { Location: location, "Docker-Content-Digest": digest });
}

async function loadManifest(c: Context, service: string): Promise<Response> {
  const { name = "", reference = "" } = c.req.param();
  const bytes = await bodyOf(c);
  const isTag = !reference.includes(":");
  const digest = isTag ? sha256(bytes) : (reference as Digest);
  const mediaType = c.req.header("Content-Type") ?? "";
  // A name in the request would be no referrer's: those are told apart by their digests.
  const annotations = isTag ? { "io.containerd.image.name": `localhost/${name}:${reference}` } : {};
  const root = { mediaType, digest, size: bytes.length, annotations };
  const layout = { roots: [root], blobs: new Map([[digest, bytes]]), layers: [], manifests: [digest], digest };
  const answer = await load(layout, isTag ? `${service}/v1/load` : `${service}/v1/load/${name}`);
  if (!answer.ok) return answer;
  const subject = subjectOf(bytes);
  return c.body(null, 201, {
    Location: pathOf(c),
    "Docker-Content-Digest": digest,
    ...(subject !== undefined && { "OCI-Subject": subject }),
  });
}

async function load(layout: Layout, url: string): Promise<Response> {
  return fetch(url, { method: "PUT", body: new Uint8Array(await tarOf(layout)) });
}

function subjectOf(manifest: Buffer): string | undefined {
  const json: unknown = JSON.parse(manifest.toString());
  const subject = isJsonObject(json) ? json["subject"] : undefined;
  const digest = isJsonObject(subject) ? subject["digest"] : undefined;
  return typeof digest === "string" ? digest : undefined;
}

async function bodyOf(c: Context): Promise<Buffer> {
  return Buffer.from(await c.req.arrayBuffer());
}

/** With the query. */
function pathOf(c: Context): string {
  const { pathname, search } = new URL(c.req.url);
  return pathname + search;
}
