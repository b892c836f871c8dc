import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { joinLayouts, makeLayout, tarOf, types } from "../support/layout.ts";
import { type ServingCommand, listFiles, newFolder, serveStowage, stowage } from "../support/run-stowage.ts";

const layers = [randomBytes(3 * 1024 * 1024), randomBytes(2048)] as const;
const created = "2026-11-29T12:34:56Z";
const history = [
  { created_by: "COPY rootfs.tar / # buildkit" },
  { created_by: 'CMD ["sh"]', empty_layer: true },
  { created_by: `RUN set -eux;\n\tapt-get update;  ${"x".repeat(100)}` },
];
const named = makeLayout({ layers, name: "docker.io/team/app:1.4", config: { created, history } });
const older = makeLayout({ name: "docker.io/team/app:1.10", manifest: annotated("2025-01-02T03:04:05+01:00") });
const index = makeLayout({ platforms: ["linux/amd64", "linux/arm64/v8"], refName: "multi", config: { created } });
const nameless = makeLayout({ label: "nameless" });
const short = (digest: Digest): string => digest.slice("sha256:".length, "sha256:".length + 12);

function annotated(time: string): { readonly annotations: Readonly<Record<string, string>> } {
  return { annotations: { "org.opencontainers.image.created": time } };
}

function sizeOf({ blobs, manifests, digest }: typeof named): number {
  const content = [...blobs].filter(([key]) => key !== digest && !manifests.includes(key));
  return content.reduce((sum, [, { length }]) => sum + length, 0);
}

let folder: string;
let service: ServingCommand;
beforeAll(async () => {
  folder = await newFolder();
  await stowage(["load", "-"], { cwd: folder, input: await tarOf(joinLayouts(named, older, index, nameless)) });
  service = await serveStowage(["--store", `file:${folder}/data`]);
});
afterAll(async () => {
  service.kill("SIGTERM");
  expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
});

interface Listed {
  readonly images: readonly Readonly<Record<string, unknown>>[];
}

async function listJson(...args: readonly string[]): Promise<Listed["images"]> {
  const { code, stdout, stderr } = await stowage(["ls", "--json", ...args], { cwd: folder });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return (JSON.parse(stdout) as Listed).images;
}

describe("stowage ls", () => {
  it("prints a table of all images with size, day and platforms, which fits 80 columns", async () => {
    const { code, stdout, stderr } = await stowage(["ls"], { cwd: folder });
    const lines = stdout.split("\n").map((line) => line.split(/ {2,}/));
    expect(lines).toEqual([
      ["IMAGE", "SIZE", "CREATED", "PLATFORM"],
      ["images:multi", `${sizeOf(index)} bytes`, "2026-11-29", "2 platforms"],
      [`images@${short(nameless.digest)}`, `${sizeOf(nameless)} bytes`, "-", "linux/amd64"],
      ["team/app:1.10", `${sizeOf(older)} bytes`, "2025-01-02", "linux/amd64"],
      ["team/app:1.4", "3.00 MiB", "2026-11-29", "linux/amd64"],
      [""],
    ]);
    expect(Math.max(...stdout.split("\n").map(({ length }) => length))).toBeLessThanOrEqual(80);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });

  it("prints those of one repository as JSON, named as before and with more said of them", async () => {
    const [root] = index.roots;
    const [namelessRoot] = nameless.roots;
    expect(await listJson("images", "--store", `file:${folder}/data`)).toEqual([
      {
        repository: "images",
        reference: "multi",
        digest: index.digest,
        mediaType: root?.mediaType,
        size: root?.size,
        totalSize: sizeOf(index),
        platforms: ["linux/amd64", "linux/arm64/v8"],
        created,
      },
      {
        repository: "images",
        reference: nameless.digest,
        digest: nameless.digest,
        mediaType: namelessRoot?.mediaType,
        size: namelessRoot?.size,
        totalSize: sizeOf(nameless),
        platforms: ["linux/amd64"],
      },
    ]);
  });

  it("shows one image with its layers and what has made them", async () => {
    const { code, stdout } = await stowage(["ls", "team/app:1.4"], { cwd: folder });
    const [first = "sha256:", second = "sha256:"] = named.layers;
    expect(stdout).toBe(`team/app:1.4
digest   ${named.digest}
size     3.00 MiB
created  ${created}
platform linux/amd64

LAYER         SIZE      CREATED BY
${short(first)}  3.00 MiB  COPY rootfs.tar / # buildkit
${short(second)}  2.00 KiB  RUN set -eux; apt-get update; ${"x".repeat(25)}…
`);
    expect(Math.max(...stdout.split("\n").map(({ length }) => length))).toBeLessThanOrEqual(80);
    expect(code).toBe(0);
    expect(await listJson("team/app:1.4")).toMatchObject([
      {
        digest: named.digest,
        layers: named.layers.map((digest, i) => ({ digest, mediaType: types.layer, size: layers[i]?.length })),
      },
    ]);
  });

  it("shows the parts of an image for several platforms", async () => {
    const { stdout } = await stowage(["ls", "images:multi"], { cwd: folder });
    expect(stdout).toContain("\nplatform linux/amd64, linux/arm64/v8\n");
    for (const digest of index.manifests) expect(stdout).toContain(`\n\ndigest   ${digest}\n`);
    expect(stdout).toMatch(/\nplatform linux\/arm64\/v8\n\nLAYER /);
  });

  it("takes a digest, whole or as the table shows it", async () => {
    const { digest } = nameless;
    for (const text of [digest, short(digest), digest.slice(0, 20)]) {
      expect(await listJson(`images@${text}`)).toMatchObject([{ repository: "images", reference: digest, digest }]);
    }
  });

  it("tells signatures and the like from images", async () => {
    const cwd = await newFolder();
    const [subject] = index.roots;
    if (subject === undefined) throw new Error("expected a root");
    const signature = makeLayout({ subject: { ...subject, annotations: {} } });
    await stowage(["load", "-"], { cwd, input: await tarOf(joinLayouts(index, signature)) });
    expect((await stowage(["ls"], { cwd })).stdout).toMatch(/^images@\w{12} .* referrer$/m);
    const { stdout } = await stowage(["ls", "--json"], { cwd });
    expect(JSON.parse(stdout)).toMatchObject({ images: [{}, { digest: signature.digest, subject: index.digest }] });
  });

  it("says that an empty store is empty", async () => {
    const cwd = await newFolder();
    await mkdir(join(cwd, "data"));
    await writeFile(join(cwd, "data/oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    expect(await stowage(["ls"], { cwd })).toEqual({
      code: 0,
      stdout: "",
      stderr: "There are no images in file:./data\n",
    });
    expect(await stowage(["ls", "--json"], { cwd })).toEqual({ code: 0, stdout: '{\n  "images": []\n}\n', stderr: "" });
  });

  it.each([
    [["nowhere"], 1, 'stowage ls: Cannot find repository "nowhere"\n'],
    [["nowhere:1"], 1, 'stowage ls: Cannot find repository "nowhere"\n'],
    [["team/app:9"], 1, 'stowage ls: Cannot find "9" in team/app\n'],
    [[`team/app@${sha256(Buffer.from("x"))}`], 1, "stowage ls: Cannot find "],
    [["NoName"], 2, "stowage ls: Cannot use "],
    [["team/app@md5:1"], 2, 'stowage ls: found "md5:1" as a digest, '],
    [["a", "b"], 2, "stowage ls: found "],
    [["--to", "http://127.0.0.1:1", "--store", "memory:"], 2, "stowage ls: found both "],
  ])("exits with an error for %j", async (args, code, message) => {
    const outcome = await stowage(["ls", ...args], { cwd: folder });
    expect(outcome.stderr.slice(0, message.length)).toBe(message);
    expect(outcome).toMatchObject({ code, stdout: "" });
  });

  it("shows the other repositories where the index of one is damaged, and exits with 1", async () => {
    const cwd = await newFolder();
    await stowage(["load", "-"], { cwd, input: await tarOf(joinLayouts(named, index)) });
    await writeFile(join(cwd, "data/repositories/team/app/_layout/index.json"), "{");
    const { code, stdout, stderr } = await stowage(["ls"], { cwd });
    expect(stdout.split("\n")).toHaveLength(3);
    expect(stderr).toMatch(/^stowage ls: Cannot read the index "repositories\/team\/app\/_layout\/index\.json"/);
    expect(code).toBe(1);
  });

  it("lists an image whose manifest or config is gone, without what they would tell", async () => {
    const cwd = await newFolder();
    await stowage(["load", "-"], { cwd, input: await tarOf(nameless) });
    for (const path of await listFiles(join(cwd, "data/blobs"))) await rm(join(cwd, "data/blobs", path));
    const { code, stdout } = await stowage(["ls"], { cwd });
    expect(stdout.split("\n")[1]).toMatch(/^images@\w{12} +- +- +-$/);
    expect(code).toBe(0);
  });

  it("lists all images where the manifest of one is damaged, says which, and exits with 1", async () => {
    const cwd = await newFolder();
    await stowage(["load", "-"], { cwd, input: await tarOf(joinLayouts(named, older)) });
    await writeFile(join(cwd, "data/blobs/sha256", named.digest.slice(7)), "{}");
    const damage = /^stowage ls: Cannot read all of team\/app:1\.4: .*the store's copy is damaged/;
    const { code, stdout, stderr } = await stowage(["ls"], { cwd });
    expect(stdout).toMatch(/^team\/app:1\.10 +\d.*\nteam\/app:1\.4 +- +- +-$/m);
    expect(stderr).toMatch(damage);
    expect(code).toBe(1);

    const damaged = await serveStowage(["--store", `file:${cwd}/data`]);
    const asked = await stowage(["ls", "--to", damaged.url], { cwd });
    damaged.kill("SIGTERM");
    await damaged.outcome;
    expect(asked.stdout).toMatch(/^team\/app:1\.10 +\d/m);
    expect(asked.stderr).toMatch(/^stowage ls: Cannot read all of team\/app:1\.4: .* 503 STORE_DAMAGED/m);
    expect(asked.code).toBe(1);
  });
});

describe("stowage ls --to", () => {
  it("lists the tags of a service as those of a store, page by page", async () => {
    const own = (await listJson()).filter(({ reference, digest }) => reference !== digest);
    expect(own.length).toBe(3);
    expect(await listJson("--to", service.url)).toEqual(own);
    expect(await listJson("team/app:1.4", "--to", service.url)).toEqual(await listJson("team/app:1.4"));
    expect(await listJson(`images@${nameless.digest}`, "--to", service.url)).toMatchObject([
      { digest: nameless.digest },
    ]);
  });

  it("shows an image, or a repository, by the name that docker pull takes", async () => {
    const address = service.url.replace("http:", "docker:");
    expect(await listJson("--to", `${address}/team/app:1.4`)).toEqual(await listJson("team/app:1.4"));
    expect(await listJson("--to", `${address}/team/app`)).toEqual(await listJson("team/app"));
    expect(await listJson("--to", `${address}/images@${nameless.digest}`)).toMatchObject([{ digest: nameless.digest }]);
  });

  it.each(["file:./data", "ftp://me:secret@x", "//ci:se@secret@x", "http://secret@x", "docker://secret@127.0.0.1:1/x"])(
    "refuses %s as a service, and shows no secret",
    async (url) => {
      const outcome = await stowage(["ls", "--to", url], { cwd: folder });
      expect(outcome).toMatchObject({ code: 2, stdout: "" });
      expect(outcome.stderr).not.toContain("secret");
    },
  );

  it("says what the service has against it", async () => {
    const args = ["ls", "nowhere", "--to", service.url];
    expect(await stowage(args)).toMatchObject({ code: 1, stderr: 'stowage ls: Cannot find repository "nowhere"\n' });
    const closed = await serveStowage(["--store", "memory:"], { STOWAGE_TOKENS: "[]" });
    const { code, stderr } = await stowage(["ls", "--to", closed.url]);
    expect(stderr).toMatch(
      /^stowage ls: Cannot read the list of repositories from http:\S+: it answered 401 UNAUTHORIZED: .*; STOWAGE_TOKEN is not set, and "docker login [\d.:]+" was not run$/m,
    );
    expect(code).toBe(1);
    closed.kill("SIGTERM");
    await closed.outcome;
  });
});

describe("stowage ls of a repository with 10,000 tags", () => {
  const count = 10_000;
  let large: string;
  let largeService: ServingCommand;
  beforeAll(async () => {
    large = await newFolder();
    await stowage(["load", "-", "many:0"], { cwd: large, input: await tarOf(nameless) });
    const home = join(large, "copy/repositories/many/_layout");
    await mkdir(home, { recursive: true });
    const [root] = nameless.roots;
    const manifests = Array.from({ length: count }, (_, i) => ({
      ...root,
      annotations: { "org.opencontainers.image.ref.name": `v${i}` },
    }));
    await writeFile(join(home, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
    largeService = await serveStowage(["--store", `file:${large}/copy`]);
  });
  afterAll(async () => {
    largeService.kill("SIGTERM");
    await largeService.outcome;
  });

  it("names them without reading each, in a store and at a service, and says so", async () => {
    for (const target of [
      ["--store", `file:${large}/copy`],
      ["--to", largeService.url],
    ]) {
      const { code, stdout, stderr } = await stowage(["ls", "many", ...target]);
      const lines = stdout.trimEnd().split("\n");
      expect(lines).toHaveLength(count + 1);
      expect(lines[1]).toMatch(/^many:v0 +- +- +-$/);
      expect(stderr).toBe(`${count} images: what each is takes reading it, which --details does\n`);
      expect(code).toBe(0);
    }
  });
});
