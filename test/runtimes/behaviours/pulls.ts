/** What whoever pulls gets. */
import { expect } from "vitest";
import type { Digest } from "../../../src/digest.ts";
import { randomBytes, sha256 } from "../../support/bytes.ts";
import { makeLayout, tarOf, types } from "../../support/layout.ts";
import { type Behaviour, type Trial, ask, loaded } from "../trial.ts";

const layer = randomBytes(200_000, 20);
const layout = makeLayout({ layers: [layer], name: "pulls/app:1" });
const signature = makeLayout({
  subject: { mediaType: types.manifest, digest: layout.digest, size: layout.roots[0]?.size ?? 0 },
  manifest: { artifactType: "a/thing+json", annotations: { a: "b" } },
});
const manifest = layout.blobs.get(layout.digest);
const blobPath = `/v2/pulls/app/blobs/${sha256(layer)}`;

export const pulls: readonly Behaviour[] = [
  {
    name: "manifests by tag and digest",
    run: async (trial) => {
      await loadSample(trial);
      for (const reference of ["1", layout.digest]) {
        const path = `/v2/pulls/app/manifests/${reference}`;
        const whole = await ask(trial, path, { headers: { "Accept-Encoding": "gzip, br" } });
        expect(whole.bytes.equals(manifest ?? Buffer.alloc(0))).toBe(true);
        expect(Object.fromEntries(whole.headers)).toMatchObject(headersOf(layout.digest, types.manifest));
        const head = await ask(trial, path, { method: "HEAD" });
        expect(head).toMatchObject({ status: 200, bytes: { length: 0 } });
        expect(Object.fromEntries(head.headers)).toMatchObject({
          ...headersOf(layout.digest, types.manifest),
          "content-length": String(manifest?.length),
        });
        const fresh = await ask(trial, path, { headers: { "If-None-Match": `"${layout.digest}"` } });
        expect(fresh).toMatchObject({ status: 304, bytes: { length: 0 } });
      }
    },
  },
  {
    name: "blobs whole, by HEAD and 304",
    run: async (trial) => {
      await loadSample(trial);
      const whole = await ask(trial, blobPath);
      expect(whole.bytes.equals(layer)).toBe(true);
      expect(Object.fromEntries(whole.headers)).toMatchObject({
        ...headersOf(sha256(layer), "application/octet-stream"),
        "content-length": String(layer.length),
      });
      const head = await ask(trial, blobPath, { method: "HEAD" });
      expect(head).toMatchObject({ status: 200, bytes: { length: 0 } });
      expect(head.headers.get("Content-Length")).toBe(String(layer.length));
      const fresh = await ask(trial, blobPath, { headers: { "If-None-Match": `"${sha256(layer)}"` } });
      expect(fresh).toMatchObject({ status: 304, bytes: { length: 0 } });
    },
  },
  {
    name: "ranges of blobs",
    run: async (trial) => {
      await loadSample(trial);
      for (const [range, start, end] of [
        ["bytes=0-0", 0, 1],
        ["bytes=1000-1999", 1000, 2000],
        ["bytes=199000-", 199_000, 200_000],
        ["bytes=-5", 199_995, 200_000],
      ] as const) {
        const { status, bytes, headers } = await ask(trial, blobPath, { headers: { Range: range } });
        expect(status).toBe(206);
        expect(bytes.equals(layer.subarray(start, end))).toBe(true);
        expect(headers.get("Content-Range")).toBe(`bytes ${start}-${end - 1}/${layer.length}`);
      }
      const outside = await ask(trial, blobPath, { headers: { Range: "bytes=200000-" } });
      expect(outside).toMatchObject({ status: 416, code: "RANGE_INVALID" });
    },
  },
  {
    name: "tags, page by page",
    run: async (trial) => {
      for (const tag of ["b", "a", "c"]) await loaded(trial, await tarOf(layout), `pulls/tags:${tag}`);
      const all = await ask(trial, "/v2/pulls/tags/tags/list");
      expect(all.json).toEqual({ name: "pulls/tags", tags: ["a", "b", "c"] });
      const first = await ask(trial, "/v2/pulls/tags/tags/list?n=2");
      expect(first.json).toEqual({ name: "pulls/tags", tags: ["a", "b"] });
      const [, next = ""] = /^<(.+)>; rel="next"$/.exec(first.headers.get("Link") ?? "") ?? [];
      expect((await ask(trial, next)).json).toEqual({ name: "pulls/tags", tags: ["c"] });
    },
  },
  {
    name: "the catalog",
    run: async (trial) => {
      await loadSample(trial);
      const { status, json } = await ask(trial, "/v2/_catalog");
      expect(status).toBe(200);
      expect(json["repositories"]).toContain("pulls/app");
    },
  },
  {
    name: "referrers, by their type",
    run: async (trial) => {
      await loadSample(trial);
      await loaded(trial, await tarOf(signature), "pulls/app");
      const path = `/v2/pulls/app/referrers/${layout.digest}?artifactType=a%2Fthing%2Bjson`;
      const { status, headers, json } = await ask(trial, path);
      expect(status).toBe(200);
      expect(headers.get("Content-Type")).toBe(types.index);
      expect(headers.get("OCI-Filters-Applied")).toBe("artifactType");
      const referrer = { digest: signature.digest, artifactType: "a/thing+json", annotations: { a: "b" } };
      expect(json).toMatchObject({ schemaVersion: 2, mediaType: types.index, manifests: [referrer] });
    },
  },
  {
    name: "a crowd that pulls one tag",
    run: async (trial) => {
      await loadSample(trial);
      const pulled = await Promise.all(Array.from({ length: 40 }, async () => ask(trial, "/v2/pulls/app/manifests/1")));
      expect(pulled.filter(({ bytes }) => bytes.equals(manifest ?? Buffer.alloc(0)))).toHaveLength(pulled.length);
    },
  },
];

async function loadSample(trial: Trial): Promise<void> {
  await loaded(trial, await tarOf(layout));
}

function headersOf(digest: Digest, type: string): Readonly<Record<string, string>> {
  return { "docker-content-digest": digest, etag: `"${digest}"`, "content-type": type };
}
