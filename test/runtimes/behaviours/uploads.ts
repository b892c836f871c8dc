/** Tarballs in parts, and what need not be sent at all. */
import { expect } from "vitest";
import { randomBytes, sha256 } from "../../support/bytes.ts";
import { makeLayout, tarOf, withoutBlob } from "../../support/layout.ts";
import {
  type Behaviour,
  type UploadAnswer,
  ask,
  beginUpload,
  eventually,
  loaded,
  mebibyte,
  sendPart,
} from "../trial.ts";

export const uploads: readonly Behaviour[] = [
  {
    name: "an upload in parts, resumed",
    run: async (trial) => {
      const layout = makeLayout({ layers: [randomBytes(9 * mebibyte, 60)], name: "uploads/parts:1" });
      const tarball = await tarOf(layout);
      const { id, parts } = await beginUpload(trial, tarball.length);
      expect(parts.length).toBeGreaterThan(1);
      const [first, ...others] = parts;
      if (first === undefined) throw new Error("expected a part");
      await sendPart(trial, first, tarball);

      const early = await ask(trial, `/v1/uploads/${id}/load`, { method: "POST" });
      expect(early.status).toBe(400);
      const found = (await ask(trial, `/v1/uploads/${id}`)).json as unknown as UploadAnswer;
      expect(found.parts.map(({ present }) => present)).toEqual([true, ...others.map(() => false)]);

      await Promise.all(
        found.parts.filter(({ present }) => !present).map(async (part) => sendPart(trial, part, tarball)),
      );
      const { status, json } = await ask(trial, `/v1/uploads/${id}/load`, { method: "POST" });
      expect(status).toBe(201);
      expect(json).toMatchObject({ images: [{ repository: "uploads/parts", digest: layout.digest }] });
      expect(await ask(trial, `/v1/uploads/${id}`)).toMatchObject({ status: 404, code: "BLOB_UPLOAD_UNKNOWN" });
    },
  },
  {
    name: "an upload that is given up",
    run: async (trial) => {
      const tarball = randomBytes(1000, 61);
      const { id, parts } = await beginUpload(trial, tarball.length);
      for (const part of parts) await sendPart(trial, part, tarball);
      expect((await ask(trial, `/v1/uploads/${id}`, { method: "DELETE" })).status).toBe(204);
      expect((await ask(trial, `/v1/uploads/${id}`)).status).toBe(404);
    },
  },
  {
    name: "a part of another length is refused",
    run: async (trial) => {
      const { parts } = await beginUpload(trial, 1000);
      const { status } = await ask(trial, parts[0]?.url ?? "", { method: "PUT", body: randomBytes(1001, 62) });
      expect([400, 403]).toContain(status); // by the service, or by the store whose signature covers the length
    },
  },
  {
    name: "only what is missing is sent",
    run: async (trial) => {
      const layers = [randomBytes(20_000, 63), randomBytes(20_000, 64)];
      await loaded(trial, await tarOf(makeLayout({ layers: layers.slice(0, 1), name: "uploads/base:1" })));
      const layout = makeLayout({ layers, name: "uploads/sparse:1" });
      const body = JSON.stringify({ digests: layers.map(sha256) });
      const { json } = await ask(trial, "/v1/blobs/missing", { method: "POST", body });
      expect(json["missing"]).toEqual([layout.layers[1]]);
      expect(json["directBytes"]).toBe(Math.min(64 * mebibyte, trial.maxRequestBytes ?? Infinity));
      await loaded(trial, await tarOf(withoutBlob(layout, layout.layers[0])));
      const head = await ask(trial, "/v2/uploads/sparse/manifests/1", { method: "HEAD" });
      expect(head.headers.get("Docker-Content-Digest")).toBe(layout.digest);
    },
  },
  {
    name: "the bucket's event loads a tarball",
    only: ["lambda"], // a Worker gets them by a queue: test/workerd
    run: async (trial) => {
      const { bucket } = trial;
      if (bucket === undefined) throw new Error("expected a bucket that can be seen");
      const layout = makeLayout({ layers: [randomBytes(6 * mebibyte, 65)], name: "uploads/event:1" });
      await bucket.put("incoming/two words.tar", await tarOf(layout));
      const object = { key: `${bucket.prefix}/incoming/two+words.tar` }; // S3 writes keys into events as forms do
      const record = {
        eventSource: "aws:s3",
        eventName: "ObjectCreated:Put",
        s3: { bucket: { name: bucket.name }, object },
      };
      const body = JSON.stringify({ Records: [record] });
      expect((await ask(trial, "/@event", { method: "POST", body })).status).toBe(200);
      const head = await ask(trial, "/v2/uploads/event/manifests/1", { method: "HEAD" });
      expect(head.headers.get("Docker-Content-Digest")).toBe(layout.digest);
      await eventually(async () => !(await bucket.keys()).some((it) => it.startsWith("incoming/")), "it is deleted");
    },
  },
];
