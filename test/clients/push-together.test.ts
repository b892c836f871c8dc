/** Pushes through two processes, each of which gets every other request, and many pushes of one image at once. */
import { ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { beforeAll, describe, expect, it } from "vitest";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { S3Store } from "../../src/storage/s3/s3-store.ts";
import { startProxy } from "../cli/faulty-proxy.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { listKeys } from "../storage/contract-objects.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { type Layout, makeLayout, types } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { type ServingCommand, newFolder, serveStowage } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { digestAt, pullBack, pushClients, pushLines, runPush } from "../tools/push-clients.ts";
import { type Workshop, openWorkshop } from "../tools/workshop.ts";

const mebibyte = 1024 * 1024;
const timeout = 240_000;
const keyOf = (digest: string): string => `blobs/${digest.replace(":", "/")}`;

/** A store that several processes share. */
interface Place {
  readonly url: string;
  readonly store: ObjectStore;
  readonly env: Readonly<Record<string, string>>;
  /** Uploads in parts that are neither completed nor aborted. */
  readonly openUploads: () => Promise<number>;
}

describe("pushes into a directory", () => {
  testPushes(async () => {
    const folder = await newFolder();
    return { url: `file:${folder}`, store: new DirectoryStore(folder), env: {}, openUploads: async () => 0 };
  });
});

await describeS3Servers(
  "pushes into a bucket",
  (server) => {
    testPushes(async () => {
      const env = s3Environment(server);
      const client = createS3Client(env);
      await makeTestBucket(client);
      const prefix = `push/${crypto.randomUUID()}`;
      const store = new S3Store({ client, bucket: testBucket, prefix });
      const openUploads = async (): Promise<number> => {
        const listed = await client.send(new ListMultipartUploadsCommand({ Bucket: testBucket, Prefix: `${prefix}/` }));
        return listed.Uploads?.length ?? 0;
      };
      return { url: `s3://${testBucket}/${prefix}`, store, env, openUploads };
    });
  },
  ["versitygw"],
);

function testPushes(open: () => Promise<Place>): void {
  let place: Place;
  /** Gives every request to the other one of two processes. */
  let url: string;

  beforeAll(async () => {
    place = await open();
    const services: ServingCommand[] = [];
    for (let i = 0; i < 2; i++) services.push(await serveStowage(["--store", place.url], place.env));
    ({ url } = await startProxy(services.map((service) => service.url)));
    return async () => {
      for (const service of services) service.kill("SIGTERM");
      for (const service of services) expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
    };
  });

  const expectNothingLeft = async (): Promise<void> => {
    expect(await listKeys(place.store, "staging/")).toEqual([]);
    expect(await place.openUploads()).toBe(0);
  };

  it("makes one blob of chunks that two processes take in turn", { timeout }, async () => {
    const bytes = randomBytes(9 * mebibyte, 3);
    const begun = await fetch(`${url}/v2/team/app/blobs/uploads/`, { method: "POST" });
    const session = new URL(begun.headers.get("Location") ?? "", url);
    const patch = async (start: number, end: number): Promise<Response> => {
      const headers = { "Content-Range": `${start}-${end - 1}` };
      return fetch(session, { method: "PATCH", headers, body: new Uint8Array(bytes.subarray(start, end)) });
    };
    const statusAndRange = ({ status, headers }: Response): unknown => [status, headers.get("Range")];
    const cuts = [0, 4, 8].map((start) => start * mebibyte);
    for (const [i, start] of cuts.entries()) {
      const end = cuts[i + 1] ?? bytes.length;
      // Two processes get the same chunk at the same time: one of them wins.
      const answers = await Promise.all([patch(start, end), patch(start, end)]);
      expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([202, 416]);
      expect(statusAndRange(await fetch(session))).toEqual([204, `0-${end - 1}`]);
      expect(statusAndRange(await patch(start, end))).toEqual([416, `0-${end - 1}`]);
    }
    const digest = sha256(bytes);
    session.searchParams.set("digest", digest);
    expect((await fetch(session, { method: "PUT" })).status).toBe(201);
    const pulled = await fetch(`${url}/v2/team/app/blobs/${digest}`);
    expect(sha256(Buffer.from(await pulled.arrayBuffer()))).toBe(digest);
    await expectNothingLeft();
  });

  describe("by a client that speaks with two processes", () => {
    let workshop: Workshop;
    beforeAll(async () => {
      workshop = await openWorkshop();
      return workshop.close;
    });

    // No layer of one is a layer of another: each client has to send its own.
    const names = ["docker push, 20.10", "podman push", "regctl image copy, in chunks"];
    for (const client of pushClients.filter(({ name }) => names.includes(name))) {
      describeIfFound(client.name, missingTools(["bash", ...client.needs]), () => {
        it("arrives, and is pulled back", { timeout }, async () => {
          const prepared = { env: await client.prepare(workshop), cwd: await workshop.newFolder() };
          const target = { host: new URL(url).host, name: "two/app", tag: "1.4.0" };
          const digest = await runPush(pushLines({ push: client.push }, target, prepared));
          expect(digest).toBe(await digestAt(target));
          expect(await pullBack(target, client.puller, await workshop.newFolder())).toContain(digest);
          await expectNothingLeft();
        });
      });
    }
  });

  it("keeps one copy of each blob when 64 clients push one image at once", { timeout }, async () => {
    const image = makeLayout({ layers: [randomBytes(9 * mebibyte, 7), randomBytes(70_000, 8)] });
    await Promise.all(Array.from({ length: 64 }, async (_, i) => pushImage(`${url}/v2/crowd/app${i % 8}`, image, i)));
    expect(await listKeys(place.store, "blobs/")).toEqual(expect.arrayContaining([...image.blobs.keys()].map(keyOf)));
    for (let i = 0; i < 8; i++) {
      const target = { host: new URL(url).host, name: `crowd/app${i}`, tag: "1" };
      expect(await digestAt(target)).toBe(image.digest);
    }
    await expectNothingLeft();
  });
}

/** As a client that finds no blob: whole, as a stream, or in two chunks. */
async function pushImage(repository: string, image: Layout, way: number): Promise<void> {
  for (const [digest, bytes] of image.blobs) {
    if (digest !== image.digest) await pushBlob(repository, { digest, bytes }, way);
  }
  const body = new Uint8Array(image.blobs.get(image.digest) ?? []);
  const headers = { "Content-Type": types.manifest };
  await send(201, `${repository}/manifests/1`, { method: "PUT", headers, body });
}

async function pushBlob(repository: string, blob: { digest: string; bytes: Uint8Array }, way: number): Promise<void> {
  const { digest } = blob;
  const bytes = new Uint8Array(blob.bytes);
  const begun = await send(202, `${repository}/blobs/uploads/`, { method: "POST" });
  const session = new URL(begun.headers.get("Location") ?? "", repository).href;
  const end = `${session}?digest=${digest}`;
  if (way % 3 === 0) {
    await send(201, end, { method: "PUT", body: bytes });
  } else if (way % 3 === 1) {
    const body = new Blob([bytes]).stream();
    await send(202, session, { method: "PATCH", body, duplex: "half" });
    await send(201, end, { method: "PUT" });
  } else {
    const half = Math.ceil(bytes.length / 2);
    await send(202, session, { method: "PATCH", body: bytes.subarray(0, half) });
    const headers = { "Content-Range": `${half}-${bytes.length - 1}` };
    await send(201, end, { method: "PUT", headers, body: bytes.subarray(half) });
  }
}

async function send(status: number, url: string, init: RequestInit): Promise<Response> {
  const answer = await fetch(url, init);
  expect(answer.status, `${init.method} ${url}: ${await answer.clone().text()}`).toBe(status);
  return answer;
}
