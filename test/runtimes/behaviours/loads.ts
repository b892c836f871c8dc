/** Loads that work, and what their receipts say. */
import { expect } from "vitest";
import type { Digest } from "../../../src/digest.ts";
import { randomBytes, sha256, sha512 } from "../../support/bytes.ts";
import { expectedManifest, makeDockerArchive, packEntries } from "../../support/docker-archive.ts";
import { makeLayout, reversed, tarOf, withBadBlob, withoutPlatform } from "../../support/layout.ts";
import { type Behaviour, type Trial, ask, load, loaded, mebibyte } from "../trial.ts";

export const loads: readonly Behaviour[] = [
  {
    name: "a tarball in one piece",
    run: async (trial) => {
      const layout = makeLayout({
        layers: [randomBytes(50_000, 1), randomBytes(3, 2)],
        name: "docker.io/loads/plain:1.4",
      });
      const { status, json } = await load(trial, await tarOf(layout, { prefix: "./", order: reversed }));
      expect(status).toBe(201);
      expect(json).toMatchObject({
        images: [{ repository: "loads/plain", reference: "1.4", digest: layout.digest, status: "created" }],
        bytes: { present: 0 },
      });
      await expectImage(trial, "loads/plain", "1.4", layout.digest);
    },
  },
  {
    name: "gzip",
    run: async (trial) => {
      const layout = makeLayout({ layers: [randomBytes(300_000, 3)], name: "loads/gzip:1" });
      await loaded(trial, await tarOf(layout, { compress: "gzip" }));
      await expectImage(trial, "loads/gzip", "1", layout.digest);
    },
  },
  {
    name: "zstd",
    run: async (trial) => {
      const layout = makeLayout({ layers: [randomBytes(300_000, 4)], name: "loads/zstd:1" });
      await loaded(trial, zstdOf(await tarOf(layout)));
      await expectImage(trial, "loads/zstd", "1", layout.digest);
    },
  },
  {
    name: "a name in the path",
    run: async (trial) => {
      const layout = makeLayout({ layers: [randomBytes(100, 5)], name: "loads/other:1" });
      await loaded(trial, await tarOf(layout), "loads/path:2.0");
      await expectImage(trial, "loads/path", "2.0", layout.digest);
      expect((await ask(trial, "/v2/loads/other/manifests/1")).status).toBe(404);
    },
  },
  {
    name: "the same again changes nothing",
    run: async (trial) => {
      const tarball = await tarOf(makeLayout({ layers: [randomBytes(1000, 6)], name: "loads/again:1" }));
      await loaded(trial, tarball);
      const { status, json } = await load(trial, tarball);
      expect(status).toBe(200);
      expect(json).toMatchObject({ images: [{ status: "unchanged" }], bytes: { written: 0 } });
    },
  },
  {
    name: "a layer in parts",
    run: async (trial) => {
      const layer = randomBytes(17 * mebibyte, 7);
      const { json } = await loaded(trial, await tarOf(makeLayout({ layers: [layer], name: "loads/large:1" })));
      expect(json).toMatchObject({ requests: { part: expect.toSatisfy((parts: number) => parts > 1) } });
      const blob = await ask(trial, `/v2/loads/large/blobs/${sha256(layer)}`); // Lambda sends whoever asks to the bucket
      expect(blob.bytes.equals(layer)).toBe(true);
    },
  },
  {
    name: "digests of SHA-512",
    run: async (trial) => {
      const layer = randomBytes(6 * mebibyte, 10); // more than a part
      const layout = makeLayout({ layers: [layer, randomBytes(10, 11)], name: "loads/strong:1", digest: sha512 });
      await loaded(trial, await tarOf(layout));
      const manifest = await ask(trial, `/v2/loads/strong/manifests/${layout.digest}`);
      expect(manifest.headers.get("Docker-Content-Digest")).toBe(layout.digest);
      const blob = await ask(trial, `/v2/loads/strong/blobs/${sha512(layer)}`);
      expect(blob.bytes.equals(layer)).toBe(true);
      const wrong = await load(trial, await tarOf(withBadBlob(layout, sha512(layer))));
      expect(wrong).toMatchObject({ status: 400, code: "DIGEST_INVALID" });
    },
  },
  {
    name: "a docker-archive",
    run: async (trial) => {
      const layer = randomBytes(6 * mebibyte, 8); // its name does not tell its digest, and it is more than a part
      const image = { layers: [layer, randomBytes(100, 9), layer], repoTags: ["localhost/loads/docker:1"] };
      const archive = makeDockerArchive("docker", image);
      expect(archive.filter(({ type }) => type === "symlink")).toHaveLength(1);
      const before = await trial.bucket?.keys();
      const { json } = await loaded(trial, await packEntries(archive));
      expect(json).toMatchObject({
        requests: { copy: expect.toSatisfy((copies: number) => copies > 0) },
        ignored: [],
      });
      await expectImage(trial, "loads/docker", "1", sha256(expectedManifest("docker", image)));
      const blob = await ask(trial, `/v2/loads/docker/blobs/${sha256(layer)}`);
      expect(blob.bytes.equals(layer)).toBe(true);
      expect(staged(await trial.bucket?.keys())).toEqual(staged(before));
    },
  },
  {
    name: "an index without one of its platforms",
    run: async (trial) => {
      const whole = makeLayout({ platforms: ["linux/amd64", "linux/arm64"], name: "loads/platforms:1" });
      const { json } = await loaded(trial, await tarOf(withoutPlatform(whole, 1)));
      expect(json).toMatchObject({ images: [{ digest: whole.digest, absent: [{ digest: whole.manifests[1] }] }] });
      await expectImage(trial, "loads/platforms", "1", whole.digest);
    },
  },
];

function staged(keys: readonly string[] | undefined): readonly string[] | undefined {
  return keys?.filter((key) => key.includes("staging/"));
}

async function expectImage(trial: Trial, repository: string, tag: string, digest: Digest): Promise<void> {
  const { status, bytes, headers } = await ask(trial, `/v2/${repository}/manifests/${tag}`);
  expect(status).toBe(200);
  expect(sha256(bytes)).toBe(digest);
  expect(headers.get("Docker-Content-Digest")).toBe(digest);
}

/** A zstd frame of blocks that are not compressed (RFC 8878, sections 3.1.1 and 3.1.1.2): Node 20 cannot make another. */
function zstdOf(bytes: Uint8Array): Buffer {
  const blockBytes = 128 * 1024;
  const chunks: Uint8Array[] = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x38])]; // no checksum, a window of 128 KiB
  for (let start = 0; start < bytes.length; start += blockBytes) {
    const block = bytes.subarray(start, start + blockBytes);
    const isLast = start + blockBytes >= bytes.length;
    const header = Buffer.alloc(3);
    header.writeUIntLE(block.length * 8 + Number(isLast), 0, 3);
    chunks.push(header, block);
  }
  return Buffer.concat(chunks);
}
