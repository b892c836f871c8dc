/** The commands, on images whose digests are of SHA-512. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { randomBytes, sha256, sha512 } from "../support/bytes.ts";
import { type Layout, joinLayouts, makeLayout, tarOf } from "../support/layout.ts";
import {
  type Outcome,
  type ServingCommand,
  listFiles,
  newFolder,
  serveStowage,
  stowage,
} from "../support/run-stowage.ts";

const layer = randomBytes(3 * 1024 * 1024);
const app = makeLayout({ layers: [layer], name: "docker.io/team/app:1.4", digest: sha512 });
const next = makeLayout({ layers: [layer], name: "docker.io/team/app:2", label: "next", digest: sha512 });
const mixed = makeLayout({
  layers: [layer, randomBytes(2048)],
  name: "docker.io/team/mixed:1",
  digest: (bytes, part) => (part === "layers" ? sha256 : sha512)(bytes),
});
const nameless = makeLayout({ label: "nameless", digest: sha512 });

const hexOf = (digest: Digest): string => digest.slice("sha512:".length);
const digestsOf = (...layouts: readonly Layout[]): string[] =>
  [...new Set(layouts.flatMap(({ blobs }) => [...blobs.keys()]))].toSorted();

let folder: string;
let store: string;
let service: ServingCommand;
beforeAll(async () => {
  folder = await newFolder();
  store = `file:${folder}/data`;
  for (const [name, layout] of Object.entries({ app, next, all: joinLayouts(app, mixed, nameless) })) {
    await writeFile(join(folder, `${name}.tar`), await tarOf(layout));
  }
  await run("load", join(folder, "all.tar"), "--store", store);
  service = await serveStowage(["--store", `file:${folder}/served`]);
});
afterAll(async () => {
  service.kill("SIGTERM");
  expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
});

/** Runs a command that works. */
async function run(...args: readonly string[]): Promise<Outcome> {
  const outcome = await stowage(args, { cwd: folder });
  expect(outcome, args.join(" ")).toMatchObject({ code: 0 });
  return outcome;
}

async function blobsIn(name: string): Promise<string[]> {
  const paths = await listFiles(join(folder, name, "blobs"));
  return paths.map((path) => path.replace("/", ":")).toSorted();
}

describe("stowage, with digests of SHA-512", () => {
  it("lists images, and takes a digest, whole or its beginning", async () => {
    const short = hexOf(nameless.digest).slice(0, 12);
    expect((await run("ls", "--store", store)).stdout).toContain(`\nimages@${short} `);
    for (const text of [nameless.digest, short, nameless.digest.slice(0, 20), hexOf(nameless.digest)]) {
      const { stdout } = await run("ls", `images@${text}`, "--store", store, "--json");
      expect(JSON.parse(stdout), text).toMatchObject({ images: [{ digest: nameless.digest }] });
    }
    const shown = (await run("ls", "team/app:1.4", "--store", store)).stdout;
    expect(shown).toContain(`\ndigest   ${app.digest}\n`);
    expect(shown).toContain(`\n${hexOf(sha512(layer)).slice(0, 12)}  3.00 MiB`);
    for (const text of ["sha256:" + short, "f".repeat(100)]) {
      const { code, stderr } = await stowage(["ls", `images@${text}`, "--store", store]);
      expect({ code, stderr }).toEqual({ code: 1, stderr: `stowage ls: Cannot find "${text}" in images\n` });
    }
    expect(await stowage(["ls", `images@sha384:${short}`, "--store", store])).toMatchObject({ code: 2 });
  });

  it("exports an image that loads again as it was", async () => {
    const [path, again] = [join(folder, "out.tar"), join(folder, "again.tar")];
    await run("export", "team/app:1.4", "team/mixed:1", "-o", path, "--store", store);
    await run("load", path, "--store", `file:${folder}/again`);
    expect(await blobsIn("again")).toEqual(digestsOf(app, mixed));
    await run("export", "team/app:1.4", "team/mixed:1", "-o", again, "--store", `file:${folder}/again`);
    expect((await readFile(again)).equals(await readFile(path))).toBe(true);
  });

  it("sends a service only what the service lacks, and copies into it and out of it", async () => {
    await run("load", join(folder, "app.tar"), "--to", service.url);
    const { stdout, stderr } = await run("load", join(folder, "next.tar"), "--to", service.url);
    expect(stderr).toMatch(/\n1 of 3 blobs are there already: [\d.]+ KiB instead of 3\.\d+ MiB\n/);
    expect(stdout).toMatch(new RegExp(`^team/app:2 {2}created\n {2}digest {2}${next.digest}\n`));
    await run("copy", store, service.url, "team/mixed:1");
    expect(await blobsIn("served")).toEqual(digestsOf(app, next, mixed));
    await run("copy", service.url, `file:${folder}/copied`, "team/app:2", "team/mixed:1");
    expect(await blobsIn("copied")).toEqual(digestsOf(next, mixed));
    expect((await run("ls", `team/app@${next.digest}`, "--to", service.url)).stdout).toContain(next.digest);
  });

  it("finds a flipped byte, and repairs it", async () => {
    const where = `file:${folder}/flipped`;
    await run("load", join(folder, "app.tar"), "--store", where);
    expect((await run("verify", "--store", where)).stdout).toContain("All is well");
    const path = join(folder, "flipped/blobs/sha512", hexOf(sha512(layer)));
    const bytes = await readFile(path);
    bytes[1000] = (bytes[1000] ?? 0) ^ 1;
    await writeFile(path, bytes);
    const { code, stdout } = await stowage(["verify", "--store", where]);
    expect(stdout).toMatch(/^blobs\/sha512\/\w{128}: its 3145728 bytes have the digest sha512:\w{128}$/m);
    expect(stdout).toContain(`team/app:1.4: it needs ${sha512(layer)}, which is damaged\n`);
    expect(code).toBe(1);
    await run("load", join(folder, "app.tar"), "--repair", "--store", where);
    expect((await run("verify", "--store", where)).stdout).toContain("All is well");
  });

  it("removes an image by its digest, and frees its blobs", async () => {
    const where = `file:${folder}/removed`;
    for (const name of ["app", "next"]) await run("load", join(folder, `${name}.tar`), "--store", where);
    expect((await run("rm", `team/app@${app.digest}`, "--store", where)).stdout).toBe(
      `Removed team/app@${app.digest} with all its tags\n`,
    );
    expect((await run("gc", "--store", where)).stdout).toContain("Condemned 2 blobs");
    expect(await listFiles(join(folder, "removed/condemned"))).toHaveLength(2);
    expect((await run("gc", "--now", "--store", where)).stdout).toContain("Freed 2 blobs");
    expect(await blobsIn("removed")).toEqual(digestsOf(next));
    expect((await run("verify", "--store", where)).stdout).toContain("All is well");
  });
});
