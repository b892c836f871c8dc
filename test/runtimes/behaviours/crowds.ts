/** Many at once, and one that goes away. */
import { connect } from "node:net";
import { expect } from "vitest";
import { randomBytes, sha256 } from "../../support/bytes.ts";
import { makeLayout, tarOf } from "../../support/layout.ts";
import { type Behaviour, type Trial, ask, eventually, loaded, mebibyte, secrets } from "../trial.ts";

export const crowds: readonly Behaviour[] = [
  {
    name: "loads at once share the buffer",
    run: async (trial) => {
      const images = Array.from({ length: 6 }, (_, i) =>
        makeLayout({ layers: [randomBytes(4 * mebibyte, 40 + i)], name: `crowds/buffer-${i}:1` }),
      );
      await Promise.all(images.map(async (layout) => loaded(trial, await tarOf(layout))));
      for (const [i, { digest }] of images.entries()) {
        const head = await ask(trial, `/v2/crowds/buffer-${i}/manifests/1`, { method: "HEAD" });
        expect(head.headers.get("Docker-Content-Digest")).toBe(digest);
      }
    },
  },
  {
    name: "commits at once, to many tags",
    run: async (trial) => {
      const tags = Array.from({ length: 8 }, (_, i) => `tag-${i}`);
      await Promise.all(
        tags.map(async (tag) => loaded(trial, await tarOf(makeLayout({ label: tag })), `crowds/tags:${tag}`)),
      );
      expect((await ask(trial, "/v2/crowds/tags/tags/list")).json["tags"]).toEqual(tags);
    },
  },
  {
    name: "commits at once, to one tag",
    run: async (trial) => {
      const images = Array.from({ length: 6 }, (_, i) => makeLayout({ label: `the ${i}th` }));
      await Promise.all(images.map(async (layout) => loaded(trial, await tarOf(layout), "crowds/tag:1")));
      const { headers } = await ask(trial, "/v2/crowds/tag/manifests/1");
      expect(images.map(({ digest }) => digest)).toContain(headers.get("Docker-Content-Digest"));
      for (const { digest } of images) expect((await ask(trial, `/v2/crowds/tag/blobs/${digest}`)).status).toBe(200);
    },
  },
  {
    name: "whoever goes away leaves nothing",
    except: ["lambda"], // a request comes whole, and its function never learns that nobody waits
    run: async (trial) => {
      const layer = randomBytes(40 * mebibyte, 50);
      const tarball = await tarOf(makeLayout({ layers: [layer], name: "crowds/gone:1" }));
      const before = await trial.bucket?.keys();
      for (const sentBytes of [6 * mebibyte, 24 * mebibyte]) {
        await sendPartOf(trial, tarball, sentBytes);
        await eventually(async () => ((await trial.bucket?.openUploads()) ?? 0) === 0, "no multipart upload is open");
      }
      expect((await ask(trial, `/v2/crowds/gone/blobs/${sha256(layer)}`)).status).toBe(404);
      expect(await trial.bucket?.keys()).toEqual(before);
      expect((await loaded(trial, tarball)).status).toBe(201); // what the others held is free again
    },
  },
];

/** Announces the whole tarball, sends a part of it, and hangs up once the service has begun with it. */
async function sendPartOf({ url, bucket }: Trial, tarball: Uint8Array, count: number): Promise<void> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => undefined);
  const headers = [
    `Host: ${hostname}:${port}`,
    `Authorization: Bearer ${secrets.owner}`,
    `Content-Length: ${tarball.length}`,
  ];
  socket.write(`PUT /v1/load HTTP/1.1\r\n${headers.join("\r\n")}\r\n\r\n`);
  for (let i = 0; i < count; i += mebibyte) {
    await new Promise((resolve) => socket.write(tarball.subarray(i, Math.min(i + mebibyte, count)), resolve));
  }
  if (bucket !== undefined)
    await eventually(async () => (await bucket.openUploads()) > 0, "a multipart upload is open");
  socket.destroy();
}
