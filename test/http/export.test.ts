/** Exports: what goes in as a tarball comes out as one. */
import { Readable } from "node:stream";
import type { Hono } from "hono";
import { extract } from "tar-stream";
import { beforeEach, describe, expect, it } from "vitest";
import { type AppOptions, createApp } from "../../src/http/app.ts";
import { blobKey } from "../../src/layout/keys.ts";
import { isJsonObject } from "../../src/oci/json.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { readAll, sha256 } from "../support/bytes.ts";
import { compareReaders } from "../support/compare-readers.ts";
import { type Layout, joinLayouts, makeLayout, tarOf, types, withoutPlatform } from "../support/layout.ts";
import { bytesAt, decorate } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";

const platforms = ["linux/arm64/v8", "linux/amd64"];
const layer = Buffer.from("a layer, twice");
const image = makeLayout({ name: "docker.io/team/app:1.4", layers: [layer, layer, Buffer.alloc(100_000, 1)] });
const multi = makeLayout({ name: "docker.io/team/multi:1", platforms, layers: [layer] });

let store: MemoryStore;
let app: Hono;
beforeEach(() => {
  store = new MemoryStore();
  app = createApp({ layout: openLayout(store), access: "anyone" });
});

async function load(layout: Layout, path = "/v1/load"): Promise<unknown> {
  const response = await app.request(path, { method: "PUT", body: await tarOf(layout) });
  expect(response.status).toBeLessThan(300);
  return response.json();
}

interface Exported {
  readonly tarball: Buffer;
  readonly headers: Headers;
  readonly files: ReadonlyMap<string, Buffer>;
}

async function exported(path: string): Promise<Exported> {
  const response = await app.request(`/v1/export/${path}`);
  expect(response.status).toBe(200);
  const tarball = Buffer.from(await response.arrayBuffer());
  expect(await compareReaders(tarball)).toBeUndefined();
  return { tarball, headers: response.headers, files: await filesIn(tarball) };
}

async function filesIn(tarball: Uint8Array): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  const archive = Readable.from([tarball]).pipe(extract());
  for await (const entry of archive) {
    expect(entry.header).toMatchObject({ type: "file", mode: 0o644, uid: 0, gid: 0, mtime: new Date(0) });
    files.set(entry.header.name, await readAll(entry as AsyncIterable<Uint8Array>));
  }
  return files;
}

const jsonIn = ({ files }: Exported, path: string): unknown => JSON.parse(String(files.get(path)));
const blobPath = (digest: string): string => digest.replace("sha256:", "blobs/sha256/");
const blobsIn = ({ files }: Exported): string[] => [...files.keys()].filter((name) => name.startsWith("blobs/"));

async function refusal(path: string): Promise<unknown> {
  const response = await app.request(`/v1/export/${path}`);
  const json: unknown = await response.json();
  const [error]: unknown[] = isJsonObject(json) && Array.isArray(json["errors"]) ? json["errors"] : [];
  return { status: response.status, ...(isJsonObject(error) && { code: error["code"], message: error["message"] }) };
}

describe("GET /v1/export", () => {
  it("sends an image layout with every blob once, and each blob has its digest", async () => {
    await load(image);
    const found = await exported("team/app:1.4");
    expect(found.headers.get("Content-Length")).toBe(String(found.tarball.length));
    expect(found.headers.get("Content-Disposition")).toBe('attachment; filename="app-1.4.tar"');
    expect([...found.files.keys()].slice(0, 3)).toEqual(["oci-layout", "index.json", "manifest.json"]);
    expect(blobsIn(found).toSorted()).toEqual([...image.blobs.keys()].map(blobPath).toSorted());
    for (const path of blobsIn(found)) expect(blobPath(sha256(found.files.get(path) ?? Buffer.of()))).toBe(path);
    expect(jsonIn(found, "oci-layout")).toEqual({ imageLayoutVersion: "1.0.0" });
  });

  it("names the image without a host, for engines of each kind", async () => {
    await load(image);
    const found = await exported("team/app:1.4");
    const annotations = {
      "io.containerd.image.name": "docker.io/team/app:1.4",
      "org.opencontainers.image.ref.name": "1.4",
    };
    expect(jsonIn(found, "index.json")).toEqual({
      schemaVersion: 2,
      mediaType: types.index,
      manifests: [{ mediaType: types.manifest, digest: image.digest, size: expect.any(Number) as number, annotations }],
    });
    const [config] = [...image.blobs.keys()].filter(
      (digest) => !image.layers.includes(digest) && digest !== image.digest,
    );
    const [first = "", second = ""] = image.layers;
    const Layers = [first, first, second].map(blobPath); // with both places of the layer that comes twice
    expect(jsonIn(found, "manifest.json")).toEqual([
      { Config: blobPath(config ?? ""), RepoTags: ["team/app:1.4"], Layers },
    ]);
  });

  it.each([
    ["app:1", "docker.io/library/app:1"],
    ["ghcr.io/acme/app:1", "ghcr.io/acme/app:1"],
    ["images:1", "docker.io/library/images:1"],
  ])("names %s as engines do: %s", async (name, expected) => {
    await load(image, `/v1/load/${name}`);
    const found = await exported(name);
    expect(JSON.stringify(jsonIn(found, "index.json"))).toContain(`"io.containerd.image.name":"${expected}"`);
    expect(jsonIn(found, "manifest.json")).toMatchObject([{ RepoTags: [name] }]);
  });

  it("names an image by its tag alone if the request has its digest too", async () => {
    await load(image);
    const { tarball } = await exported(`team/app:1.4@${image.digest}`);
    expect(tarball.equals((await exported("team/app:1.4")).tarball)).toBe(true);
  });

  it.each(["team/app:1.4", `team/app:1.4@${image.digest}`, "team/multi:1"])(
    "loads back as unchanged, with no write: %s",
    async (name) => {
      await load(joinLayouts(image, multi));
      const { tarball } = await exported(name);
      const response = await app.request("/v1/load", { method: "PUT", body: tarball });
      expect(response.status).toBe(200);
      const digest = name.includes("multi") ? multi.digest : image.digest;
      const [repository = ""] = name.split(/[:@]/);
      expect(await response.json()).toMatchObject({
        images: [{ repository, digest, status: "unchanged" }],
        totals: { written: 0 },
      });
    },
  );

  it("by digest, keeps the repository's name and gives the image no tag", async () => {
    await load(image);
    const { tarball } = await exported(`team/app@${image.digest}`);
    store = new MemoryStore();
    app = createApp({ layout: openLayout(store), access: "anyone" });
    const response = await app.request("/v1/load", { method: "PUT", body: tarball });
    const named = { repository: "team/app", reference: image.digest, digest: image.digest };
    expect(await response.json()).toMatchObject({ images: [named] });
  });

  it("gives the same bytes for the same images, wherever they lie", async () => {
    await load(multi);
    const first = await exported("team/multi:1");
    store = new MemoryStore();
    app = createApp({ layout: openLayout(store), access: "anyone" });
    await load(image); // other images change nothing
    await load(multi);
    const second = await exported("team/multi:1");
    expect(second.tarball.equals(first.tarball)).toBe(true);
    expect(second.headers.get("ETag")).toBe(first.headers.get("ETag"));
  });

  it("answers HEAD and If-None-Match without a blob", async () => {
    await load(image);
    const { headers, tarball } = await exported("team/app:1.4");
    for (const digest of image.layers) await store.delete(blobKey(digest));
    const head = await app.request("/v1/export/team/app:1.4", { method: "HEAD" });
    expect([head.status, head.headers.get("Content-Length"), head.headers.get("ETag")]).toEqual([
      200,
      String(tarball.length),
      headers.get("ETag"),
    ]);
    const known = { "If-None-Match": headers.get("ETag") ?? "" };
    const fresh = await app.request("/v1/export/team/app:1.4", { headers: known });
    expect([fresh.status, await fresh.text()]).toEqual([304, ""]);
  });

  it("packs several images, with shared blobs once", async () => {
    await load(joinLayouts(image, multi));
    const found = await exported("team/app:1.4?image=team/multi:1");
    expect(blobsIn(found).toSorted()).toEqual(
      [...new Set([...image.blobs.keys(), ...multi.blobs.keys()])].map(blobPath).toSorted(),
    );
    const names = [{ RepoTags: ["team/app:1.4"] }, { RepoTags: [] }, { RepoTags: ["team/multi:1"] }];
    expect(jsonIn(found, "manifest.json")).toMatchObject(names); // linux/amd64 has the name
  });

  it("gives the same bytes in any order of the images", async () => {
    await load(joinLayouts(image, multi));
    const [one, other, twice] = await Promise.all(
      [
        "team/app:1.4?image=team/multi:1",
        "team/multi:1?image=team/app:1.4",
        "team/multi:1?image=team/app:1.4&image=team/multi:1",
      ].map(exported),
    );
    expect(other?.tarball.equals(one?.tarball ?? Buffer.of())).toBe(true);
    expect(twice?.headers.get("ETag")).toBe(one?.headers.get("ETag"));
  });

  it("gives an image with two names one entry with both", async () => {
    await load(image);
    await load(image, "/v1/load/other:latest");
    const found = await exported("team/app:1.4?image=other");
    expect(jsonIn(found, "manifest.json")).toMatchObject([{ RepoTags: ["other:latest", "team/app:1.4"] }]);
  });

  it("packs only the wanted platforms: the index is sparse then, and has the same digest", async () => {
    await load(multi);
    const found = await exported("team/multi:1?platform=linux/arm64");
    const lacking = withoutPlatform(multi, 1);
    expect(found.files.has(blobPath(multi.digest))).toBe(true);
    expect(found.files.has(blobPath(multi.manifests[1] ?? ""))).toBe(false);
    expect(blobsIn(found).length).toBeLessThan(lacking.blobs.size);
    store = new MemoryStore();
    app = createApp({ layout: openLayout(store), access: "anyone" });
    const response = await app.request("/v1/load", { method: "PUT", body: found.tarball });
    expect(await response.json()).toMatchObject({ images: [{ repository: "team/multi", digest: multi.digest }] });
    const again = await exported("team/multi:1"); // the store itself lacks a platform now
    expect(again.tarball.equals(found.tarball)).toBe(true);
  });

  it("says which platforms an image has", async () => {
    await load(multi);
    expect(await refusal("team/multi:1?platform=linux/s390x")).toMatchObject({
      status: 404,
      code: "MANIFEST_UNKNOWN",
      message: `Cannot find an image for linux/s390x: "${multi.digest}" is for linux/arm64/v8, linux/amd64`,
    });
    expect(await refusal("team/multi:1?platform=s390x")).toMatchObject({ status: 400, code: "INPUT_INVALID" });
  });

  it("checks the platform of an image without an index by its config", async () => {
    const amd = { os: "linux", architecture: "amd64" };
    await load(makeLayout({ name: "team/one:1", config: amd }));
    await exported("team/one:1?platform=linux/amd64");
    expect(await refusal("team/one:1?platform=linux/arm64")).toMatchObject({ status: 404 });
  });

  it("takes referrers along if asked: by subject, and by cosign's tags", async () => {
    await load(image);
    const manifest = {
      mediaType: types.manifest,
      digest: image.digest,
      size: image.blobs.get(image.digest)?.length ?? 0,
    };
    const signature = makeLayout({ subject: manifest, label: "signed" });
    const second = makeLayout({
      subject: {
        mediaType: types.manifest,
        digest: signature.digest,
        size: signature.blobs.get(signature.digest)?.length ?? 0,
      },
      label: "about the signature",
    });
    const cosign = makeLayout({ label: "cosign" });
    const tag = `${image.digest.replace(":", "-")}.sig`;
    await load(joinLayouts(signature, second), "/v1/load/team/app");
    await load(cosign, `/v1/load/team/app:${tag}`);
    expect(blobsIn(await exported("team/app:1.4"))).not.toContain(blobPath(signature.digest));
    const found = await exported("team/app:1.4?referrers=true");
    expect(blobsIn(found)).toEqual(
      expect.arrayContaining([signature.digest, second.digest, cosign.digest].map(blobPath)),
    );
    expect(jsonIn(found, "manifest.json")).toHaveLength(1); // engines get no signatures
    store = new MemoryStore();
    app = createApp({ layout: openLayout(store), access: "anyone" });
    await app.request("/v1/load", { method: "PUT", body: found.tarball });
    const referrers = await app.request(`/v2/team/app/referrers/${image.digest}`);
    expect(await referrers.json()).toMatchObject({ manifests: [{ digest: signature.digest }] });
    const signed = await app.request(`/v2/team/app/manifests/${tag}`, { method: "HEAD" });
    expect(signed.headers.get("Docker-Content-Digest")).toBe(cosign.digest);
  });

  it("sends an artifact without a manifest.json", async () => {
    await load(
      makeLayout({
        name: "team/chart:1",
        manifest: {
          config: { mediaType: "application/vnd.cncf.helm.config.v1+json", digest: sha256(Buffer.from("{}")), size: 2 },
        },
        layers: [Buffer.from("{}")],
      }),
    );
    const found = await exported("team/chart:1?platform=linux/amd64"); // a chart is for every platform
    expect([...found.files.keys()].slice(0, 2)).toEqual(["oci-layout", "index.json"]);
    expect(found.files.has("manifest.json")).toBe(false);
  });

  it("ends the tarball before the last bytes of a damaged blob", async () => {
    await load(image);
    const [, large = "sha256:"] = image.layers;
    await store.put(blobKey(large), Buffer.alloc(100_000, 2));
    const response = await app.request("/v1/export/team/app:1.4");
    await expect(response.arrayBuffer()).rejects.toThrow(/the store's copy is damaged/);
  });

  it("ends with an error if the store fails while the reader pauses", async () => {
    await load(image);
    const [small = "sha256:"] = image.layers;
    await store.delete(blobKey(small));
    const response = await app.request("/v1/export/team/app:1.4");
    const reader = response.body?.getReader();
    await reader?.read();
    await new Promise((resolve) => setTimeout(resolve, 50)); // the packer reads ahead, and fails
    const rest = async (): Promise<void> => {
      while ((await reader?.read())?.done === false);
    };
    await expect(rest()).rejects.toThrow(/^Cannot pack blob "sha256:/);
  });

  it("packs no more than a limit of manifests and blobs, over all repositories", async () => {
    const layer0 = Buffer.from("0");
    const manifest = {
      layers: Array.from({ length: 9000 }, () => ({ mediaType: types.layer, digest: sha256(layer0), size: 1 })),
    };
    for (const name of ["a", "b", "c"])
      await load(makeLayout({ name: `docker.io/${name}:1`, label: name, layers: [layer0], manifest }));
    const both = await app.request("/v1/export/a:1?image=b:1", { method: "HEAD" });
    expect(both.status).toBe(200);
    expect(await refusal("a:1?image=b:1&image=c:1")).toMatchObject({ status: 413, code: "LIMIT_EXCEEDED" });
  });

  it("refuses names, digests and queries that lead nowhere", async () => {
    await load(image);
    expect(await refusal("team/none")).toMatchObject({ status: 404, code: "NAME_UNKNOWN" });
    expect(await refusal("team/app")).toMatchObject({ status: 404, code: "MANIFEST_UNKNOWN" }); // no tag `latest`
    expect(await refusal(`team/app:1.4@${sha256(Buffer.from("other"))}`)).toMatchObject({
      status: 404,
      code: "MANIFEST_UNKNOWN",
    });
    expect(await refusal("Team/App")).toMatchObject({ status: 400, code: "NAME_INVALID" });
    expect(await refusal("team/app:1.4?referrers=yes")).toMatchObject({ status: 400, code: "INPUT_INVALID" });
    expect(await refusal("team/app:1.4?image=Team")).toMatchObject({ status: 400, code: "NAME_INVALID" });
  });

  it("needs the right to pull each of the images", async () => {
    await load(joinLayouts(image, multi));
    const token = {
      name: "t",
      sha256: sha256(Buffer.from("secret")).slice(7),
      actions: ["pull"],
      repositories: ["team/app"],
    } as const;
    app = createApp({ layout: openLayout(store), access: { tokens: [token], anonymousPull: false } });
    const get = async (path: string): Promise<number> => {
      const response = await app.request(`/v1/export/${path}`, { headers: { Authorization: "Bearer secret" } });
      await response.arrayBuffer();
      return response.status;
    };
    expect(await get("team/app:1.4")).toBe(200);
    expect(await get("team/app:1.4?image=team/multi:1")).toBe(403);
    expect(await get("app.tar")).toBe(403);
    expect((await app.request("/v1/export/team/app:1.4")).status).toBe(401);
  });
});

describe("GET /v1/export on a platform with small answers", () => {
  const small: Partial<AppOptions> = { maxResponseBytes: 100_000 };

  it("writes the tarball into the bucket once, and redirects to it", async () => {
    const keys: string[] = [];
    const signing = decorate(store, {
      presigner: {
        presignGet: async (key) => `https://bucket.example/${key}`,
        presignPut: async () => "",
      },
      write: async (key, source, options) => {
        keys.push(key);
        return store.write(key, source, options);
      },
    });
    app = createApp({ layout: openLayout(store), access: "anyone" });
    await load(image);
    const { tarball, headers } = await exported("team/app:1.4");
    app = createApp({ layout: openLayout(signing), access: "anyone", ...small });
    const key = `staging/export-${(headers.get("ETag") ?? "").replaceAll('"', "")}`;
    for (let i = 0; i < 2; i++) {
      const response = await app.request("/v1/export/team/app:1.4");
      expect([response.status, response.headers.get("Location")]).toEqual([307, `https://bucket.example/${key}`]);
    }
    expect(keys).toEqual([key]);
    expect((await bytesAt(store, key)).equals(tarball)).toBe(true);
  });

  it("says so if the store has no addresses of its own", async () => {
    app = createApp({ layout: openLayout(store), access: "anyone", ...small });
    await load(image);
    expect(await refusal("team/app:1.4")).toMatchObject({ status: 400, code: "UNSUPPORTED" });
  });
});
