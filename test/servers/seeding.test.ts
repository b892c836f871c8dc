/**
 * docs/seeding.md, on real S3 servers of three kinds: a hub, a region behind a proxy that counts requests, and a region whose
 * server can be stopped.
 */
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { type Clock, systemClock } from "../../src/clock.ts";
import { copyToTargets } from "../../src/copy/copy-to-targets.ts";
import { StowageError } from "../../src/errors.ts";
import { collectGarbage } from "../../src/gc/collect-garbage.ts";
import { createApp } from "../../src/http/app.ts";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { blobKey } from "../../src/layout/keys.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { S3Store } from "../../src/storage/s3/s3-store.ts";
import { verifyStore } from "../../src/verify/verify-store.ts";
import { type FaultyProxy, startProxy } from "../cli/faulty-proxy.ts";
import { clockAfter, hour } from "../gc/clock-after.ts";
import { freePort } from "../infra/free-port.ts";
import { makeToken } from "../infra/make-token.ts";
import { chunksOf, randomBytes } from "../support/bytes.ts";
import { type Layout, joinLayouts, makeLayout, tarOf } from "../support/layout.ts";
import { bytesAt, decorate, keysOf, loadBytes } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { type ServingCommand, newFolder, serveStowage, stowage } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { type Service, startService } from "../tools/start-service.ts";
import { makeTestBucket, s3Environment, testBucket } from "./s3-bucket.ts";
import { type S3Server, findS3Server } from "./s3-servers.ts";

const [hub, us] = await Promise.all([findS3Server("seaweedfs"), findS3Server("ceph")]);
const missing = [hub, us].filter((server) => typeof server === "string");

vi.setConfig({ testTimeout: 120_000 });

/** Its layer is copied in parts. */
const image = makeLayout({ layers: [randomBytes(6 * 1024 * 1024)], name: "docker.io/team/app:1" });
const next = makeLayout({
  layers: [randomBytes(6 * 1024 * 1024), randomBytes(70_000, 2)],
  name: "docker.io/team/app:2",
});

describeIfFound("regions on three S3 servers", [...missing, ...missingTools(["versitygw"])], () => {
  if (typeof hub === "string" || typeof us === "string") return;
  let ap: StoppableServer;
  let proxy: FaultyProxy;
  let env: Readonly<Record<string, string>>;
  beforeAll(async () => {
    ap = await startStoppable();
    proxy = await startProxy(us.endpoint);
    const folder = await newFolder();
    const credentials = join(folder, "credentials");
    await writeFile(credentials, [profileOf("eu", hub), profileOf("us", us), profileOf("ap", ap)].join("\n"));
    await makeTestBucket(createS3Client(s3Environment(hub)));
    await makeTestBucket(createS3Client(s3Environment(us)));
    await createS3Client(s3Environment(ap)).send(new CreateBucketCommand({ Bucket: testBucket }));
    env = { ...s3Environment(hub), AWS_SHARED_CREDENTIALS_FILE: credentials, AWS_CONFIG_FILE: join(folder, "none") };
    return async () => ap.stop();
  });

  /** The three regions, and a second store of the hub's server, all in a fresh prefix. */
  interface Regions {
    readonly service: ServingCommand;
    readonly urls: Readonly<Record<"eu" | "near" | "us" | "ap", string>>;
    readonly stores: Readonly<Record<"eu" | "near" | "us" | "ap", ObjectStore>>;
  }

  async function serveHub(settings: Readonly<Record<string, string>> = {}): Promise<Regions> {
    const prefix = `seeding/${crypto.randomUUID()}`;
    const urlOf = (path: string, profile: string, { endpoint }: Pick<S3Server, "endpoint">): string =>
      `s3://${testBucket}/${path}?endpoint=${endpoint}&profile=${profile}`;
    const urls = {
      eu: urlOf(prefix, "eu", hub as S3Server),
      near: urlOf(`${prefix}-near`, "eu", hub as S3Server),
      us: urlOf(prefix, "us", { endpoint: proxy.url }),
      ap: urlOf(prefix, "ap", ap),
    };
    const { eu: _, ...targets } = urls;
    const service = await serveStowage(["--store", `s3://${testBucket}/${prefix}`], {
      ...env,
      STOWAGE_COPY_TARGETS: JSON.stringify(targets),
      ...settings,
    });
    services.push(service);
    const storeAt = (server: S3Server, path = prefix): ObjectStore =>
      new S3Store({ client: createS3Client(s3Environment(server)), bucket: testBucket, prefix: path });
    const stores = {
      eu: storeAt(hub as S3Server),
      near: storeAt(hub as S3Server, `${prefix}-near`),
      us: storeAt(us as S3Server),
      ap: storeAt(ap),
    };
    return { service, urls, stores };
  }

  describe("STOWAGE_COPY_AFTER_LOAD", () => {
    it("answers when all regions have the image, and moves no byte when the load is sent again", async () => {
      const { service, stores } = await serveHub({ STOWAGE_COPY_AFTER_LOAD: "us,ap" });
      const created = { images: [{ repository: "team/app", reference: "1", status: "created" }], failures: [] };
      expect(await load(service, image)).toMatchObject({
        status: 201,
        json: {
          copies: [
            { target: "us", ...created },
            { target: "ap", ...created },
          ],
        },
      });
      for (const store of [stores.eu, stores.us, stores.ap]) await expectWhole(store, "team/app:1", image);

      const before = proxy.seen.length;
      const unchanged = { images: [{ status: "unchanged" }], blobs: { copied: { blobs: 0, bytes: 0 } } };
      expect(await load(service, image)).toMatchObject({ status: 200, json: { copies: [unchanged, unchanged] } });
      const asked = proxy.seen.slice(before);
      expect(asked.filter(({ method }) => method !== "GET" && method !== "HEAD")).toEqual([]);
      expect(asked.filter(({ method, path }) => method === "GET" && path.includes("/blobs/sha256/"))).toEqual([]);

      expect(await load(service, next)).toMatchObject({ status: 201 });
      const written = proxy.seen
        .slice(before)
        .filter(({ method, path }) => method === "PUT" && path.includes("/blobs/"));
      expect(written, "only the blobs that the region lacks").toHaveLength(next.blobs.size - 1);
      for (const store of [stores.us, stores.ap]) await expectWhole(store, "team/app:2", next);
    });

    it("names a region that is down, serves the image in the others, and completes when it is sent again", async () => {
      const { service, stores } = await serveHub({ STOWAGE_COPY_AFTER_LOAD: "us,ap" });
      await load(service, image);
      await ap.stop();
      const failed = await load(service, next);
      expect(failed).toMatchObject({
        status: 502,
        json: {
          errors: [
            {
              code: "COPY_FAILED",
              message: expect.stringMatching(/^Cannot copy all images to ap \(.*\); send the request again to go on$/),
              detail: {
                images: [{ repository: "team/app", reference: "2", status: "created" }],
                copies: [
                  { target: "us", images: [{ status: "created" }], failures: [] },
                  { target: "ap", images: [], failures: [{ code: "STORE_UNAVAILABLE" }] },
                ],
              },
            },
          ],
        },
      });
      for (const store of [stores.eu, stores.us]) await expectWhole(store, "team/app:2", next);
      await ap.start();
      await expectWhole(stores.ap, "team/app:1", image);
      expect(await digestIn(stores.ap, "team/app:2")).toBeNull();
      expect(await load(service, next)).toMatchObject({
        status: 200,
        json: { copies: [{ images: [{ status: "unchanged" }] }, { images: [{ status: "created" }] }] },
      });
      await expectWhole(stores.ap, "team/app:2", next);
    });
  });

  it("has the store copy within one server", async () => {
    const { service, stores } = await serveHub();
    await load(service, image);
    const asked = { images: ["team/*"], to: ["near"] };
    expect(await ask(`${service.url}/v1/copy`, { method: "POST", body: JSON.stringify(asked) })).toMatchObject({
      status: 200,
      // All but the manifest, which this process has read.
      json: { copies: [{ target: "near", blobs: { copiedByStore: { blobs: image.blobs.size - 1 } } }] },
    });
    await expectWhole(stores.near, "team/app:1", image);
  });

  it("ends with one of the images if a tag moves in the hub and in the region, and loses no other tag", async () => {
    const { service, urls, stores } = await serveHub();
    const region = await serveStowage(["--store", urls.ap], env);
    services.push(region);
    const moves = 6;
    const imageOf = (place: string, i: number): Layout => makeLayout({ label: `${place} ${i}` });
    // A copy does not move a tag that has moved since it looked (502). Under load a commit can be in doubt (503). Clients send
    // such a load again.
    const loadUntilDone = async (at: ServingCommand, own: Layout, target: string): Promise<void> => {
      for (let answer = await load(at, own, target); answer.status > 201; answer = await load(at, own, target))
        expect([502, 503], JSON.stringify(answer.json)).toContain(answer.status);
    };
    const write = async (place: string, at: ServingCommand, query = ""): Promise<void> => {
      for (let i = 0; i < moves; i++) {
        await loadUntilDone(at, imageOf(place, i), `team/app:moving${query}`);
        await loadUntilDone(at, imageOf(place, i), `team/app:${place}-${i}${query}`);
      }
    };
    await Promise.all([write("hub", service, "?copyTo=ap"), write("region", region)]);
    const all = ["hub", "region"].flatMap((place) =>
      Array.from({ length: moves }, (_, i) => ({ tag: `${place}-${i}`, image: imageOf(place, i) })),
    );
    for (const { tag, image: own } of all) expect(await digestIn(stores.ap, `team/app:${tag}`)).toBe(own.digest);
    expect(all.map(({ image: { digest } }) => digest)).toContain(await digestIn(stores.ap, "team/app:moving"));
    expect((await verifyStore(openLayout(stores.ap))).problems).toEqual([]);
  });

  it("loses no blob to a gc in the region that runs beside copies", async () => {
    const { stores } = await serveHub();
    await loadBytes(chunksOf(await tarOf(joinLayouts(image, next)), 65_536), stores.eu);
    let aheadMs = 0;
    const clock: Clock = { ...systemClock, now: () => systemClock.now() + aheadMs };
    const { signal } = new AbortController();
    const source = openLayout(stores.eu, undefined, clock);
    const region = openLayout(stores.ap, undefined, clock);
    const images = ["1", "2"].map((reference) => ({ repository: "team/app", reference }));
    // Both call `onRequest` before each of their requests to the region.
    const copy = async (onRequest = (): void => undefined): Promise<void> => {
      const target = openLayout(onEachCall(stores.ap, onRequest), undefined, clock);
      const [receipt] = await copyToTargets(source, new Map([["ap", target]]), images, { signal });
      expect(receipt?.failures).toEqual([]);
    };
    const gc = async (onRequest = (): void => undefined): Promise<void> => {
      const report = await collectGarbage(openLayout(onEachCall(stores.ap, onRequest), undefined, clock));
      expect(report.problems).toEqual([]);
    };
    /** Runs both. The second begins before the given request of the first. */
    const overlap = async ([first, second]: readonly (typeof gc)[], request: number): Promise<void> => {
      let requests = 0;
      let beside: Promise<void> | undefined;
      await first?.(() => {
        requests += 1;
        if (requests === request) beside = second?.();
      });
      await (beside ?? second?.());
    };
    await copy();
    for (let request = 1; request <= 10; request++) {
      for (const both of [
        [gc, copy],
        [copy, gc],
      ]) {
        const changes = [image, next].map(({ digest }) => ({ op: "remove", digest }) as const);
        await updateRepository(region, { repository: "team/app", changes });
        await gc(); // condemns all blobs
        aheadMs += 25 * hour;
        await overlap(both, request);
        await expectWhole(stores.ap, "team/app:1", image);
        await expectWhole(stores.ap, "team/app:2", next);
      }
    }
  });

  it("lets a spoke pull the newest tags of the hub with a token", async () => {
    const { secret, tokens } = makeToken(["pull"]);
    const { service, urls, stores } = await serveHub({ STOWAGE_TOKENS: tokens });
    const versions = ["v1.0", "v1.1", "v1.2", "v1.10"].map((tag) => ({
      tag,
      image: makeLayout({ label: tag, name: `docker.io/team/app:${tag}` }),
    }));
    const other = makeLayout({ label: "other", name: "docker.io/team/app:main" });
    const all = joinLayouts(...versions.map((version) => version.image), other);
    await loadBytes(chunksOf(await tarOf(all), 65_536), stores.eu);
    const args = ["copy", service.url, urls.us, "team/**:v*", "--latest", "2"];
    const copied = await stowage(args, { env: { ...env, STOWAGE_TOKEN: secret } });
    expect(copied.stdout).toMatch(
      /^team\/app:v1\.\d+ created .*\nteam\/app:v1\.\d+ created .*\nCopied 2 images, 0 unchanged/,
    );
    expect(copied.code, copied.stderr).toBe(0);
    for (const { tag, image: own } of versions) {
      const isNew = tag === "v1.2" || tag === "v1.10";
      expect(await digestIn(stores.us, `team/app:${tag}`)).toBe(isNew ? own.digest : null);
    }
    expect(await digestIn(stores.us, "team/app:main")).toBeNull();
    const refused = await stowage(args, { env });
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/UNAUTHORIZED|401/) as string });
  });
});

/** What docs/seeding.md says about S3's own replication. */
describe("a replica that is copied object by object", () => {
  const index = "repositories/team/app/_layout/index.json";
  let source: MemoryStore;
  let replica: MemoryStore;
  beforeEach(async () => {
    [source, replica] = [new MemoryStore(), new MemoryStore()];
    await loadBytes(chunksOf(await tarOf(image), 65_536), source);
    await replicate("");
  });

  async function replicate(...prefixes: readonly string[]): Promise<void> {
    for (const key of (await Promise.all(prefixes.map(async (prefix) => keysOf(source, prefix)))).flat())
      await replica.put(key, await bytesAt(source, key));
  }

  async function statusOf(path: string, store: ObjectStore = replica): Promise<number> {
    const app = createApp({ layout: openLayout(store), access: "anyone" });
    return (await app.request(`/v2/team/app/${path}`)).status;
  }

  it("answers 503 for a tag before its manifest comes, and 404 for a layer before it comes", async () => {
    await loadBytes(chunksOf(await tarOf(next), 65_536), source);
    await replicate(index);
    expect(await statusOf("manifests/2")).toBe(503);
    await replicate(blobKey(next.digest));
    expect(await statusOf("manifests/2")).toBe(200);
    expect(await statusOf(`blobs/${next.layers[1]}`)).toBe(404);
    await replicate("blobs/");
    expect(await statusOf(`blobs/${next.layers[1]}`)).toBe(200);
    expect((await verifyStore(openLayout(replica))).problems).toEqual([]);
  });

  it("loses its own tag to the index of the source", async () => {
    await loadBytes(chunksOf(await tarOf(makeLayout({ name: "docker.io/team/app:own" })), 65_536), replica);
    expect(await statusOf("manifests/own")).toBe(200);
    await replicate(index);
    expect(await statusOf("manifests/own")).toBe(404);
  });

  it("has a broken image after a gc whose index was older than the blobs", async () => {
    await loadBytes(chunksOf(await tarOf(next), 65_536), source);
    await replicate("blobs/");
    await collectGarbage(openLayout(replica));
    await collectGarbage(openLayout(replica, undefined, clockAfter(25 * hour)));
    await replicate(index);
    expect(await statusOf("manifests/2")).toBe(503);
  });

  it("serves pulls with credentials that only read", async () => {
    const refuse = (): never => {
      throw new StowageError("STORE_UNAVAILABLE", "403 AccessDenied");
    };
    const readable = decorate(replica, { put: refuse, write: refuse, copy: refuse, delete: refuse });
    expect(await statusOf("manifests/1", readable)).toBe(200);
    expect(await statusOf(`blobs/${image.layers[0]}`, readable)).toBe(200);
  });
});

const services: ServingCommand[] = [];
afterAll(async () => {
  for (const service of services) service.kill("SIGTERM");
  for (const service of services) expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
});

/** A VersityGW that can be stopped, and started again with its data and its address. */
interface StoppableServer extends S3Server {
  start(): Promise<void>;
  stop(): Promise<void>;
}

async function startStoppable(): Promise<StoppableServer> {
  const data = await newFolder();
  const address = `127.0.0.1:${await freePort()}`;
  const keys = { accessKeyId: "region", secretAccessKey: "region-secret" };
  let running: Service | undefined;
  const start = async (): Promise<void> => {
    running = await startService({
      command: ["versitygw", "--port", address, "--quiet", "posix", data],
      folder: await mkdtemp(join(tmpdir(), "stowage-region-")),
      env: { ROOT_ACCESS_KEY_ID: keys.accessKeyId, ROOT_SECRET_ACCESS_KEY: keys.secretAccessKey },
      ready: async () =>
        fetch(`http://${address}/`).then(
          () => address,
          () => undefined,
        ),
    });
  };
  await start();
  return { name: "versitygw", endpoint: `http://${address}`, ...keys, start, stop: async () => running?.stop() };
}

function profileOf(name: string, { accessKeyId, secretAccessKey }: S3Server): string {
  return `[${name}]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`;
}

interface Answered {
  readonly status: number;
  readonly json: unknown;
}

/** `target` is a name with a tag, and a query. By default the image keeps the name that its tarball gives. */
async function load({ url }: ServingCommand, layout: Layout, target = ""): Promise<Answered> {
  return ask(`${url}/v1/load${target === "" ? "" : `/${target}`}`, { method: "PUT", body: await tarOf(layout) });
}

async function ask(url: string, init: RequestInit): Promise<Answered> {
  const response = await fetch(url, init);
  return { status: response.status, json: await response.json() };
}

/** The store, with a call before each of its methods. */
function onEachCall(store: ObjectStore, call: () => void): ObjectStore {
  return new Proxy(store, {
    get(target, name) {
      const own: unknown = Reflect.get(target, name);
      if (typeof own !== "function") return own;
      return (...args: readonly unknown[]): unknown => {
        call();
        return Reflect.apply(own, target, args) as unknown;
      };
    },
  });
}

/** Null if there is no such image. */
async function digestIn(store: ObjectStore, name: string): Promise<string | null> {
  const app = createApp({ layout: openLayout(store), access: "anyone" });
  const response = await app.request(`/v2/${name.replace(":", "/manifests/")}`, { method: "HEAD" });
  return response.headers.get("Docker-Content-Digest");
}

async function expectWhole(store: ObjectStore, name: string, { digest }: Layout): Promise<void> {
  expect(await digestIn(store, name)).toBe(digest);
  expect((await verifyStore(openLayout(store))).problems).toEqual([]);
}
