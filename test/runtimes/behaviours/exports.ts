/** Exports, and that their bytes are those of Node. */
import { connect } from "node:net";
import { expect } from "vitest";
import { createApp } from "../../../src/http/app.ts";
import { MemoryStore } from "../../../src/storage/memory-store.ts";
import { randomBytes, sha256 } from "../../support/bytes.ts";
import { type Layout, joinLayouts, makeLayout, tarOf, types } from "../../support/layout.ts";
import { openLayout } from "../../support/open-layout.ts";
import { type Behaviour, type Trial, ask, loaded, mebibyte, secrets } from "../trial.ts";

const layer = randomBytes(300_000, 60);
const image = makeLayout({ layers: [layer, layer, randomBytes(3, 61)], name: "exports/app:1" });
const multi = makeLayout({
  platforms: ["linux/amd64", "linux/arm64/v8"],
  layers: [layer],
  name: "ghcr.io/acme/exports:1",
});
const signature = makeLayout({
  subject: { mediaType: types.manifest, digest: image.digest, size: image.roots[0]?.size ?? 0 },
  label: "signature",
});
const small = joinLayouts(image, multi, signature);
const paths = [
  "exports/app:1",
  `exports/app@${image.digest}`,
  "exports/app:1?referrers=true&image=ghcr.io/acme/exports:1",
  "ghcr.io/acme/exports:1?platform=linux/arm64",
];

/** More than Lambda answers with, and than a part of any store. */
const large = makeLayout({
  layers: [randomBytes(18 * mebibyte, 62), randomBytes(5000, 63)],
  name: "exports/large:1",
});
const largePath = "exports/large:1";

export const exports: readonly Behaviour[] = [
  {
    name: "exports with the bytes of Node",
    run: async (trial) => {
      const onNode = await exportsOf(small, paths);
      await loaded(trial, await tarOf(small));
      for (const path of paths) {
        const { status, headers, bytes } = await ask(trial, `/v1/export/${path}`);
        expect(status, bytes.toString()).toBe(200);
        expect([headers.get("ETag"), sha256(bytes)]).toEqual(onNode.get(path));
        expect(headers.get("Content-Length")).toBe(String(bytes.length));
      }
    },
  },
  {
    name: "a large export with the bytes of Node",
    run: async (trial) => {
      const onNode = await exportsOf(large, [largePath]);
      await loaded(trial, await tarOf(large));
      const head = await ask(trial, `/v1/export/${largePath}`, { method: "HEAD" });
      const { status, bytes } = await ask(trial, `/v1/export/${largePath}`); // Lambda redirects to the bucket
      expect(status).toBe(200);
      expect([head.headers.get("ETag"), sha256(bytes)]).toEqual(onNode.get(largePath));
      expect(head.headers.get("Content-Length")).toBe(String(bytes.length));
    },
  },
  {
    name: "a large export lies in the bucket",
    only: ["lambda"],
    run: async (trial) => {
      await loaded(trial, await tarOf(large));
      const address = `${trial.url}/v1/export/${largePath}`;
      const headers = { Authorization: `Bearer ${secrets.owner}` };
      for (let i = 0; i < 2; i++) {
        const { status, headers: answered } = await fetch(address, { headers, redirect: "manual" });
        const { headers: known } = await ask(trial, `/v1/export/${largePath}`, { method: "HEAD" });
        const key = `staging/export-${known.get("ETag")?.replaceAll('"', "")}`;
        expect(status).toBe(307);
        expect(new URL(answered.get("Location") ?? "").pathname).toBe(
          `/${trial.bucket?.name}/${trial.bucket?.prefix}/${key}`,
        );
        expect(await trial.bucket?.keys()).toContain(key);
        expect(await trial.bucket?.openUploads()).toBe(0);
      }
    },
  },
  {
    name: "clients that leave an export hold up nobody",
    // On Lambda a function never learns that its client left. The simulated R2 takes up to a minute for 70 clients.
    except: ["lambda", "workers, R2"],
    run: async (trial) => {
      const [expected] = await exportsOf(large, [largePath]);
      await loaded(trial, await tarOf(large));
      // In all more than are sent at once.
      for (let round = 0; round < 3; round++) {
        await Promise.all(Array.from({ length: 25 }, async () => leaveExport(trial)));
      }
      const { headers, bytes } = await ask(trial, `/v1/export/${largePath}`);
      expect([headers.get("ETag"), sha256(bytes)]).toEqual(expected?.[1]);
    },
  },
];

/** By path: the ETag and the digest of the tarball, on this Node. */
async function exportsOf(layout: Layout, wanted: readonly string[]): Promise<ReadonlyMap<string, readonly unknown[]>> {
  const app = createApp({ layout: openLayout(new MemoryStore()), access: "anyone" });
  const body = new Uint8Array(await tarOf(layout));
  expect((await app.request("/v1/load", { method: "PUT", body })).status).toBe(201);
  const found = new Map<string, readonly unknown[]>();
  for (const path of wanted) {
    const response = await app.request(`/v1/export/${path}`);
    const bytes = new Uint8Array(await response.arrayBuffer());
    found.set(path, [response.headers.get("ETag"), sha256(bytes)]);
  }
  return found;
}

/** Hangs up after the first bytes. */
async function leaveExport({ url }: Trial): Promise<void> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.write(
    `GET /v1/export/${largePath} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nAuthorization: Bearer ${secrets.owner}\r\n\r\n`,
  );
  await new Promise((resolve) => {
    socket.once("data", resolve);
    socket.once("error", resolve);
  });
  socket.destroy();
}
