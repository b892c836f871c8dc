import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { type ServerType, createAdaptorServer } from "@hono/node-server";
import type { Hono } from "hono";
import { beforeAll, describe, expect, it } from "vitest";
import { type AppOptions, createApp } from "../../src/http/app.ts";
import { openStore } from "../../src/open-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { makeS3Store, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { archiveWriters } from "../tools/archive-writers.ts";
import { missingTools } from "../tools/find-tool.ts";
import { type Image, readOnlyImage, unpack } from "../tools/read-image.ts";
import { registryClients } from "../tools/registry-clients.ts";
import { runShell } from "../tools/run-tool.ts";
import { type Workshop, openWorkshop } from "../tools/workshop.ts";
import { openLayout } from "../support/open-layout.ts";

const layer = randomBytes(200_000);
const small = randomBytes(1000, 2);
const layout = makeLayout({ layers: [layer, small], name: "team/app:1" });
const tarball = await tarOf(layout);

function pathOf(bytes: Uint8Array): string {
  return `/v2/team/app/blobs/${sha256(bytes)}`;
}

async function bytesOf(response: Response): Promise<Uint8Array> {
  return new Uint8Array(await response.arrayBuffer());
}

async function serve(store: ObjectStore, options: Partial<AppOptions>): Promise<Hono> {
  const app = createApp({ layout: openLayout(store), access: "anyone", ...options });
  expect((await app.request("/v1/load", { method: "PUT", body: tarball })).ok).toBe(true);
  return app;
}

/** A store with addresses of its own, which nobody listens at. */
function storeWithPresigner(): ObjectStore {
  const presigner = {
    presignGet: (key: string) => Promise.resolve(`https://bucket.test/${key}`),
    presignPut: (key: string) => Promise.resolve(`https://bucket.test/${key}`),
  };
  return Object.assign(new MemoryStore(), { presigner });
}

describe("GET /v2/<name>/blobs/<digest> with redirectBlobs", () => {
  let app: Hono;
  beforeAll(async () => {
    app = await serve(storeWithPresigner(), { redirectBlobs: true });
  });

  it.each([
    ["the whole blob", {}],
    ["a range of it", { Range: "bytes=0-9" }],
    ["a blob that the client has not", { "If-None-Match": '"sha256:other"' }],
  ])("sends clients to the bucket for %s", async (_, headers: Record<string, string>) => {
    const response = await app.request(pathOf(layer), { headers });
    expect(response.status).toBe(307);
    expect(response.headers.get("Location")).toBe(`https://bucket.test/blobs/${sha256(layer).replace(":", "/")}`);
    expect(response.headers.get("Docker-Content-Digest")).toBe(sha256(layer));
    expect(await response.text()).toBe("");
  });

  it("sends a small blob itself", async () => {
    expect(await bytesOf(await app.request(pathOf(small)))).toEqual(new Uint8Array(small));
  });

  it("answers HEAD, what the client has, and what is not there itself", async () => {
    const head = await app.request(pathOf(layer), { method: "HEAD" });
    expect([head.status, head.headers.get("Content-Length")]).toEqual([200, "200000"]);
    const fresh = await app.request(pathOf(layer), { headers: { "If-None-Match": `"${sha256(layer)}"` } });
    expect(fresh.status).toBe(304);
    expect((await app.request(pathOf(layer), { headers: { Range: "bytes=200000-" } })).status).toBe(416);
    expect((await app.request(pathOf(randomBytes(7)))).status).toBe(404);
  });

  it("sends everything itself where the store has no addresses", async () => {
    const alone = await serve(new MemoryStore(), { redirectBlobs: true });
    expect((await alone.request(pathOf(layer))).status).toBe(200);
  });
});

describe("GET /v2/<name>/blobs/<digest> with maxResponseBytes", () => {
  const maxResponseBytes = 200_000 + 64 * 1024 - 1;

  it("sends clients to the bucket for what would be cut off, and for nothing else", async () => {
    const app = await serve(storeWithPresigner(), { maxResponseBytes });
    expect((await app.request(pathOf(layer))).status).toBe(307);
    expect((await app.request(pathOf(small))).status).toBe(200);
    const roomier = await serve(storeWithPresigner(), { maxResponseBytes: maxResponseBytes + 1 });
    expect((await roomier.request(pathOf(layer))).status).toBe(200);
  });

  it("says so where the store has no addresses, and sends ranges that are short enough", async () => {
    const app = await serve(new MemoryStore(), { maxResponseBytes });
    const response = await app.request(pathOf(layer));
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ errors: [{ code: "UNSUPPORTED", detail: { found: 200_000 } }] });
    const range = await app.request(pathOf(layer), { headers: { Range: "bytes=100-199" } });
    expect(range.status).toBe(206);
    expect(await bytesOf(range)).toEqual(new Uint8Array(layer.subarray(100, 200)));
    expect((await app.request(pathOf(layer), { headers: { Range: "bytes=0-" } })).status).toBe(400);
  });
});

await describeS3Servers("redirects", (server) => {
  it("lead to the bytes, or the range of them", async () => {
    const app = await serve(await makeS3Store(server), { redirectBlobs: true });
    const location = (await app.request(pathOf(layer))).headers.get("Location") ?? "";
    expect(sha256(await bytesOf(await fetch(location)))).toBe(sha256(layer));
    const range = await fetch(location, { headers: { Range: "bytes=100-199" } });
    expect(range.status).toBe(206);
    expect(await bytesOf(range)).toEqual(new Uint8Array(layer.subarray(100, 200)));
  });
});

/** One blob of the image is larger than what is sent without a redirect. */
const [writer] = archiveWriters.filter(({ name }) => name === "podman save");
if (writer === undefined) throw new Error("expected a writer called podman save");

const missing = missingTools([...writer.needs, "bash", "tar"]);
let workshop: Workshop;
let tar: string;
let image: Image;
beforeAll(async () => {
  if (missing.length > 0) return undefined;
  workshop = await openWorkshop();
  tar = join(await workshop.newFolder(), "image.tar");
  const { script, env = {} } = await writer.prepare(workshop);
  await runShell(`{ ${script}; } > ${tar}`, { env });
  image = await readOnlyImage(await unpack(tar, join(await workshop.newFolder(), "unpacked")));
  return workshop.close;
});

await describeS3Servers("clients that are redirected to a bucket", (server) => {
  describeIfFound("pull from there", missing, () => {
    let service: ServerType;
    let registry: string;
    let redirects = 0;
    beforeAll(async () => {
      await makeS3Store(server); // makes the bucket
      // Clients reach the bucket by another name than the service.
      const store = await openStore(`s3://${testBucket}/tests/${crypto.randomUUID()}`, {
        ...s3Environment(server),
        STOWAGE_PUBLIC_ENDPOINT_URL_S3: server.endpoint.replace("127.0.0.1", "localhost"),
      });
      const app = createApp({ layout: openLayout(store), access: "anyone", redirectBlobs: true });
      const body = new Uint8Array(await readFile(tar));
      expect((await app.request("/v1/load/moved:1", { method: "PUT", body })).status).toBe(201);
      service = createAdaptorServer({
        fetch: async (request) => {
          const response = await app.fetch(request);
          if (response.headers.get("Location")?.startsWith("http://localhost:") === true) redirects += 1;
          return response;
        },
      });
      await once(service.listen(0, "127.0.0.1"), "listening");
      registry = `127.0.0.1:${(service.address() as AddressInfo).port}`;
      return () => service.close();
    });

    for (const client of registryClients) {
      describeIfFound(`by ${client.name}`, missingTools(client.needs), () => {
        it("have every byte", async () => {
          redirects = 0;
          const pulled = await client.pull({ registry, repository: "moved", reference: "1" }, workshop);
          expect(pulled).toEqual(client.expected(image));
          expect(redirects).toBeGreaterThan(0);
        });
      });
    }
  });
});
