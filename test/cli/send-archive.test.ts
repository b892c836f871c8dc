import { Buffer } from "node:buffer";
import { once } from "node:events";
import { copyFile, readFile, rm, truncate, utimes, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { type ServerType, serve } from "@hono/node-server";
import { Hono } from "hono";
import { basicAuth } from "hono/basic-auth";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { expectedManifest, makeDockerArchive, packEntries } from "../support/docker-archive.ts";
import { type Layout, makeLayout, tarOf, withBadBlob } from "../support/layout.ts";
import {
  type ServingCommand,
  listFiles,
  newFolder,
  serveStowage,
  startCommand,
  stowage,
  until,
} from "../support/run-stowage.ts";
import { type FaultyProxy, type SeenRequest, startProxy } from "./faulty-proxy.ts";
import { openLayout } from "../support/open-layout.ts";

const mebibyte = 1024 * 1024;
/** More than a service wants in one request: 10 parts of 8 MiB. */
const large = randomBytes(75 * mebibyte, 7);
const largeImage = makeLayout({ layers: [large, randomBytes(1000, 8)], name: "docker.io/team/large:1" });
const layer = randomBytes(3 * mebibyte);
const image = makeLayout({ layers: [layer], name: "docker.io/team/app:1" });
const nextImage = makeLayout({ layers: [layer, randomBytes(2 * mebibyte, 3)], name: "docker.io/team/app:2" });

const partPath = /\/parts\/\d+\?key=/;

interface Place {
  readonly service: ServingCommand;
  readonly store: string;
}

const services: ServingCommand[] = [];
const servers: ServerType[] = [];

async function startService(env: Readonly<Record<string, string>> = {}): Promise<Place> {
  const store = await newFolder();
  const service = await serveStowage(["--store", `file:${store}`], env);
  services.push(service);
  return { service, store };
}

afterAll(async () => {
  for (const server of servers) server.close();
  for (const service of services) {
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
  }
});

async function fileOf(layout: Layout, options: Parameters<typeof tarOf>[1] = {}): Promise<string> {
  const path = join(await newFolder(), "app.tar");
  await writeFile(path, await tarOf(layout, options));
  return path;
}

async function gzipped(path: string): Promise<string> {
  await writeFile(`${path}.gz`, gzipSync(await readFile(path)));
  return `${path}.gz`;
}

/** A slow machine takes more than ten seconds, after which a line of progress is written. */
function withoutProgress(stderr: string): string {
  return stderr.replaceAll(/^ {2}[\d.]+ \w+ of 75\.0 MiB .*\n/gm, "");
}

describe("stowage load --to, where blobs are there already", () => {
  it.each([
    ["a plain archive", {}],
    ["a compressed one", { compress: "gzip" }],
    ["one with ./ and directories", { prefix: "./", directories: true }],
  ] as const)("sends only the others of %s", async (_, options) => {
    const { service } = await startService();
    await stowage(["load", await fileOf(image), "--to", service.url]);
    const { code, stdout, stderr } = await stowage(["load", await fileOf(nextImage, options), "--to", service.url]);
    expect(stderr).toMatch(
      /\n1 of 4 blobs are there already: 2\.01 MiB instead of 5\.0\d MiB\nLoading .* \(2\.01 MiB\)/,
    );
    expect(stdout).toMatch(/^team\/app:2 {2}created\n/);
    expect(stdout).toMatch(/Blobs: 3 written \(2\.00 MiB\)\nRead 2\.01 MiB/);
    expect(code).toBe(0);
  });

  it("sends next to nothing the second time, and the bytes of a file as they are where nothing is there", async () => {
    const { service } = await startService();
    const path = await fileOf(image, { compress: "gzip" });
    const first = await stowage(["load", path, "--to", service.url, "--json"]);
    expect(JSON.parse(first.stdout)).toMatchObject({ bytes: { received: (await readFile(path)).length } });
    const second = await stowage(["load", path, "--to", service.url, "--json"]);
    expect(JSON.parse(second.stdout)).toMatchObject({ images: [{ status: "unchanged" }], bytes: { received: 3072 } });
  });

  it.each([
    ["podman", 0],
    ["docker", 0],
    ["bazel", 1], // its config lies in blobs/
  ] as const)("sends a docker-archive with its links, as written by %s", async (form, skipped) => {
    const { service, store } = await startService();
    const dockerImage = { layers: [layer, randomBytes(1000), layer], repoTags: ["localhost/team/docker:1"] };
    const path = join(await newFolder(), "docker.tar");
    await writeFile(path, await packEntries(makeDockerArchive(form, dockerImage)));
    for (const [file, status] of [
      [path, "created"],
      [path, "unchanged"],
      [await gzipped(path), "unchanged"],
    ] as const) {
      const { code, stdout, stderr } = await stowage(["load", file, "--to", service.url, "--json"]);
      expect(JSON.parse(stdout)).toMatchObject({
        images: [
          {
            repository: "team/docker",
            reference: "1",
            digest: sha256(expectedManifest(form, dockerImage)),
            status,
          },
        ],
      });
      expect(stderr.includes(`${skipped} of 1 blobs are there already`)).toBe(status === "unchanged" && skipped > 0);
      expect(code).toBe(0);
    }
    expect(await listStaging(store)).toEqual([]);
  });

  it("sends everything after all when one of them turns out to be damaged", async () => {
    const { service, store } = await startService();
    const path = await fileOf(image);
    await stowage(["load", path, "--to", service.url]);
    await truncate(join(store, "blobs", image.layers[0]?.replace(":", "/") ?? ""), 1000);
    const { code, stdout, stderr } = await stowage(["load", path, "--to", service.url]);
    expect(stderr).toContain("A blob that was there is gone or damaged: sending all of them\n");
    expect(stdout).toContain("1 repaired");
    expect(code).toBe(0);
  });

  it.each([[], ["--direct"]])("has the service repair a blob that is damaged (%j)", async (...args) => {
    const { service, store } = await startService();
    const path = await fileOf(image);
    await stowage(["load", path, "--to", service.url]);
    const blob = join(store, "blobs", image.layers[0]?.replace(":", "/") ?? "");
    const bytes = await readFile(blob);
    const flipped = Buffer.from(bytes);
    flipped[500] = (flipped[500] ?? 0) ^ 1;
    await writeFile(blob, flipped);
    const { code, stdout } = await stowage(["load", path, "--repair", "--to", service.url, ...args]);
    expect(stdout).toContain("1 repaired");
    expect(code).toBe(0);
    expect(bytes.equals(await readFile(blob)), "the layer is as it was").toBe(true);
  });

  it("asks again when the service is busy, or has closed a connection that was kept", async () => {
    const { service } = await startService();
    const faults = ["reset", 503, 429] as const;
    let asked = 0;
    const proxy = await startProxy(service.url, ({ path }) => (/missing/.test(path) ? faults[asked++] : undefined));
    const { code, stdout } = await stowage(["load", await fileOf(image), "--to", proxy.url]);
    expect(stdout).toMatch(/^team\/app:1 {2}created\n/);
    expect(code).toBe(0);
    expect(asked).toBe(4);
  });

  it("says at once that the answer to its first question is no", async () => {
    const { service } = await startService();
    const proxy = await startProxy(service.url, () => 404);
    const { code, stderr } = await stowage(["load", await fileOf(image), "--to", proxy.url]);
    expect(stderr).toMatch(/: it answered 404 and says no more\n$/);
    expect(code).toBe(1);
    expect(proxy.seen).toHaveLength(1);
  });

  it.each([
    ["is no folder", "/dev/null"],
    ["is not there", "/nowhere/at/all"],
  ])("exits with 1 when the folder for its temporary file %s", async (_, folder) => {
    const { service } = await startService();
    const env = { TMPDIR: folder };
    const { code, stderr } = await stowage(["load", "-", "--to", service.url], { env, input: await tarOf(image) });
    expect(stderr).toMatch(new RegExp(`: Cannot keep the archive in ${folder}: .*TMPDIR.*--direct.*\n$`));
    expect(code).toBe(1);
  });
});

describe("stowage load --to, in parts", () => {
  let path: string;

  beforeAll(async () => (path = await fileOf(largeImage)));

  it("sends a part again that was cut off, refused for now, or whose URL has expired", async () => {
    const { service, store } = await startService();
    const faults = ["cut", 503, 403, 429] as const;
    let failed = 0;
    const proxy = await startProxy(service.url, ({ path: asked }) =>
      partPath.test(asked) ? faults[failed++] : undefined,
    );
    const { code, stdout, stderr } = await stowage(["load", path, "team/parts:1", "--to", proxy.url]);
    expect(withoutProgress(stderr)).toBe(`Reading ${path} (75.0 MiB)\nLoading ${path} (75.0 MiB) into ${proxy.url}\n`);
    expect(stdout).toMatch(/^team\/parts:1 {2}created\n/);
    expect(code).toBe(0);
    expect(proxy.taken("PUT", partPath)).toHaveLength(10);
    expect(proxy.seen.filter(({ method }) => method === "PUT")).toHaveLength(10 + faults.length);
    expect(proxy.taken("GET", /uploads\/\w+$/)).toHaveLength(1);
    expect(await listStaging(store)).toEqual([]);
  });

  it("gives up a part that fails again and again, and says how to go on", async () => {
    const { service } = await startService();
    const proxy = await startProxy(service.url, ({ path: asked }) => (/parts\/3\?/.test(asked) ? 500 : undefined));
    const { code, stderr } = await stowage(["load", path, "--to", proxy.url]);
    expect(stderr).toMatch(
      /load into http:\S+: part 3 was answered 500 and says no more; what has arrived stays there, run the same again to go on\n$/,
    );
    expect(code).toBe(1);
    expect(proxy.seen.filter(({ path: asked }) => /parts\/3\?/.test(asked))).toHaveLength(5);
  });

  it.each([
    ["a file that was copied elsewhere", false, "SIGKILL", null],
    ["standard input", true, "SIGINT", 130],
  ] as const)("goes on with %s when it was ended in the middle", async (_, isPiped, signal, code) => {
    const { service, store } = await startService();
    const slow = await startProxy(service.url, ({ path: asked }, proxy) => stallAfter(asked, 4, proxy));
    const input = isPiped ? await readFile(path) : "";
    const folder = await newFolder();
    const first = await startCommand(["load", isPiped ? "-" : path, "--to", slow.url], { env: { TMPDIR: folder } });
    first.stdin.end(input);
    await until(() => (slow.seen.filter(isPartRequest).length >= 8 ? true : undefined));
    await until(() => (slow.taken("PUT", partPath).length >= 4 ? true : undefined));
    expect(await listFiles(folder)).toEqual([]);
    first.kill(signal);
    const ended = await first.outcome;
    expect(ended.code).toBe(code);
    if (signal === "SIGINT") {
      expect(ended.stderr).toMatch(/ended by SIGINT; what has arrived stays there, run the same again to go on\n$/);
    }

    const copy = join(folder, "copy.tar");
    await copyFile(path, copy);
    await utimes(copy, 1, 1);
    const proxy = await startProxy(service.url);
    const second = await stowage(["load", isPiped ? "-" : copy, "--to", proxy.url], { input });
    expect(second.stderr).toMatch(/\n4 of 10 parts are there from before: 43\.\d MiB are left to send\n/);
    expect(second.stdout).toMatch(/^team\/large:1 {2}created\n/);
    expect(proxy.taken("PUT", partPath)).toHaveLength(6);
    expect(await listStaging(store)).toEqual([]);
  });

  it("sends a part again that a bucket took too long over, or whose URL has expired there", async () => {
    const { service } = await startService();
    const faults = ["RequestTimeout", "ExpiredToken"].map((code) => ({ status: 400, body: s3Error(code) }));
    let failed = 0;
    const proxy = await startProxy(service.url, ({ path: asked }) =>
      /parts\/2\?/.test(asked) ? faults[failed++] : undefined,
    );
    const { code, stderr } = await stowage(["load", path, "--to", proxy.url]);
    expect(withoutProgress(stderr)).toBe(`Reading ${path} (75.0 MiB)\nLoading ${path} (75.0 MiB) into ${proxy.url}\n`);
    expect(code).toBe(0);
    expect(proxy.taken("PUT", partPath)).toHaveLength(10);
    expect(proxy.taken("GET", /uploads\/\w+$/)).toHaveLength(1);
  });

  it("asks for the load again when others committed at the same time", async () => {
    const { service } = await startService();
    const conflict = { status: 409, body: ociError("COMMIT_CONFLICT") };
    let loads = 0;
    const proxy = await startProxy(service.url, ({ path: asked }) =>
      loadPath.test(asked) && loads++ === 0 ? conflict : undefined,
    );
    const { code, stderr } = await stowage(["load", path, "--to", proxy.url]);
    expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.not.stringContaining("COMMIT_CONFLICT") });
    expect(loads).toBe(2);
    expect(proxy.taken("PUT", partPath)).toHaveLength(10);
  });

  it("sends parts again that got lost in the service", async () => {
    const { service, store } = await startService();
    let loads = 0;
    const proxy = await startProxy(service.url, async ({ path: asked }) => {
      if (loadPath.test(asked) && loads++ === 0) await loseParts(store, 3);
      return undefined;
    });
    const { code, stdout } = await stowage(["load", path, "--to", proxy.url]);
    expect(stdout).toMatch(/^team\/large:1 {2}created\n/);
    expect(code).toBe(0);
    expect(proxy.taken("PUT", partPath)).toHaveLength(13);
  });

  it("begins anew when the upload is gone before it is loaded", async () => {
    const { service } = await startService();
    let loads = 0;
    const proxy = await startProxy(service.url, async ({ path: asked }) => {
      const [, id] = /uploads\/(\w+)\/load/.exec(asked) ?? [];
      if (id !== undefined && loads++ === 0) await fetch(`${service.url}/v1/uploads/${id}`, { method: "DELETE" });
      return undefined;
    });
    const { code, stderr } = await stowage(["load", path, "--to", proxy.url]);
    expect(stderr).toContain("The upload is gone: it has expired, or somebody else had it loaded. Asking again");
    expect(code).toBe(0);
    expect(proxy.taken("PUT", partPath)).toHaveLength(20);
  });

  it("leaves no parts behind that can never be loaded", async () => {
    const { service, store } = await startService();
    const bad = await fileOf(withBadBlob(largeImage, largeImage.layers[0]));
    const { code, stderr } = await stowage(["load", bad, "--to", service.url]);
    expect(stderr).toMatch(/it answered 400 DIGEST_INVALID: Cannot take blob .* have digest "sha256:\w+"\n$/);
    expect(code).toBe(1);
    expect(await listStaging(store)).toEqual([]);
  });

  it.each([
    [400, "INDEX_INVALID", 0],
    [413, "LIMIT_EXCEEDED", 0],
    [403, "DENIED", 11], // another token may load them
    [400, "INPUT_INVALID", 11], // the request is wrong, such as a target that the service does not have
  ])("leaves after an answer %i %s as many files: %i", async (status, reason, left) => {
    const { service, store } = await startService();
    const proxy = await startProxy(service.url, ({ path: asked }) =>
      loadPath.test(asked) ? { status, body: ociError(reason) } : undefined,
    );
    const { code, stderr } = await stowage(["load", path, "--to", proxy.url]);
    expect(stderr).toMatch(new RegExp(`it answered ${status} ${reason}: no\n$`));
    expect(code).toBe(1);
    expect(await listStaging(store)).toHaveLength(left);
  });

  it("sends everything anew when what went up before was damaged", async () => {
    const { service, store } = await startService();
    const damaged = Buffer.from(large);
    damaged[0] = (damaged[0] ?? 0) ^ 1;
    const bad = await fileOf(withBadBlob(largeImage, largeImage.layers[0], damaged));
    const slow = await startProxy(service.url, ({ path: asked }, proxy) => stallAfter(asked, 4, proxy));
    const first = await startCommand(["load", bad, "--to", slow.url]);
    await until(() => (slow.taken("PUT", partPath).length >= 4 ? true : undefined));
    first.kill("SIGKILL");
    await first.outcome;

    const proxy = await startProxy(service.url);
    const { code, stdout, stderr } = await stowage(["load", path, "--to", proxy.url]);
    expect(stderr).toMatch(
      /\n4 of 10 parts are there from before: [^]*\nThe service refused the upload with its earlier parts: sending all parts again\n/,
    );
    expect(stdout).toMatch(/^team\/large:1 {2}created\n/);
    expect(code).toBe(0);
    expect(proxy.taken("PUT", partPath)).toHaveLength(6 + 10);
    expect(await listStaging(store)).toEqual([]);
  });

  it("sends it anew but once, where it is the archive itself that is damaged", async () => {
    const { service, store } = await startService();
    const bad = await fileOf(withBadBlob(largeImage, largeImage.layers[0]));
    const slow = await startProxy(service.url, ({ path: asked }, proxy) => stallAfter(asked, 4, proxy));
    const first = await startCommand(["load", bad, "--to", slow.url]);
    await until(() => (slow.taken("PUT", partPath).length >= 4 ? true : undefined));
    first.kill("SIGKILL");
    await first.outcome;

    const proxy = await startProxy(service.url);
    const { code, stderr } = await stowage(["load", bad, "--to", proxy.url]);
    expect(stderr).toMatch(/sending all parts again\n[^]*it answered 400 DIGEST_INVALID: Cannot take blob .*\n$/);
    expect(code).toBe(1);
    expect(proxy.taken("PUT", partPath)).toHaveLength(6 + 10);
    expect(await listStaging(store)).toEqual([]);
  });

  it("loads into a service below a path, behind a login of its own and a proxy that says another Host", async () => {
    const app = new Hono();
    app.use("/images/*", basicAuth({ username: "team", password: "two wörds" }));
    app.route("/images", createApp({ layout: openLayout(new MemoryStore()), access: "anyone" }));
    const server = serve({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" });
    servers.push(server);
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const proxy = await startProxy(`http://127.0.0.1:${port}`, undefined, { host: "internal.invalid:1" });
    const url = `${proxy.url.replace("//", "//team:two%20wörds@")}/images/`;
    const { code, stdout, stderr } = await stowage(["load", path, "--to", url]);
    expect(withoutProgress(stderr)).toBe(
      `Reading ${path} (75.0 MiB)\nLoading ${path} (75.0 MiB) into ${proxy.url}/images\n`,
    );
    expect(stdout).toMatch(/^team\/large:1 {2}created\n/);
    expect(code).toBe(0);
    expect(proxy.taken("PUT", partPath)).toHaveLength(10);
  });

  it("loads with a token that may, and says what one needs without", async () => {
    const token = { name: "ci", sha256: sha256(Buffer.from("right")).slice("sha256:".length), actions: ["load"] };
    const { service } = await startService({ STOWAGE_TOKENS: JSON.stringify([token]) });
    const loaded = await stowage(["load", path, "--to", service.url], { env: { STOWAGE_TOKEN: "right" } });
    expect(loaded.stdout).toMatch(/^team\/large:1 {2}created\n/);
    const refused = await stowage(["load", path, "--to", service.url]);
    expect(refused.stderr).toMatch(/it answered 401 UNAUTHORIZED: .*; STOWAGE_TOKEN is not set\n$/);
    const wrong = await stowage(["load", path, "--to", service.url.replace("//", "//ci:wrong@")]);
    expect(wrong.stderr).toMatch(/it answered 401 UNAUTHORIZED: /);
    expect([loaded.code, refused.code, wrong.code]).toEqual([0, 1, 1]);
  });

  it("shows the service who asks: user and password of the URL as they are, else the token", async () => {
    const { service } = await startService();
    const proxy = await startProxy(service.url);
    const env = { STOWAGE_TOKEN: "from-the-environment" };
    for (const userInfo of ["", "ci:from%20the%20URL@", ":from-the-URL@"]) {
      await stowage(["load", path, "--to", proxy.url.replace("//", `//${userInfo}`)], { env });
    }
    const basic = `Basic ${Buffer.from("ci:from the URL").toString("base64")}`;
    const [first, second, third] = ["Bearer from-the-environment", basic, "Bearer from-the-URL"];
    expect(new Set(proxy.seen.filter(isPartRequest).map((one) => one.authorization))).toEqual(new Set([first]));
    expect(new Set(proxy.seen.map((one) => one.authorization))).toEqual(new Set([first, second, third]));
  });
});

const loadPath = /\/uploads\/\w+\/load/;

function s3Error(code: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>no</Message></Error>`;
}

function ociError(code: string): string {
  return JSON.stringify({ errors: [{ code, message: "no" }] });
}

async function loseParts(store: string, count: number): Promise<void> {
  const parts = (await listStaging(store)).filter((name) => !name.endsWith(".json"));
  for (const part of parts.slice(0, count)) await rm(join(store, part));
}

/** Lets so many parts through, and then no more. */
function stallAfter(path: string, count: number, proxy: FaultyProxy): "stall" | undefined {
  return partPath.test(path) && proxy.seen.filter(isPartRequest).length > count ? "stall" : undefined;
}

function isPartRequest({ path }: SeenRequest): boolean {
  return partPath.test(path);
}

async function listStaging(store: string): Promise<readonly string[]> {
  return (await listFiles(store)).filter((path) => path.startsWith("staging/"));
}
