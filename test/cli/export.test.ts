import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { joinLayouts, makeLayout, tarOf, types } from "../support/layout.ts";
import { type ServingCommand, newFolder, serveStowage, stowage } from "../support/run-stowage.ts";

const image = makeLayout({ layers: [randomBytes(305_000)], name: "docker.io/team/app:1.4" });
const multi = makeLayout({ platforms: ["linux/amd64", "linux/arm64"], name: "docker.io/team/multi:latest" });
const root = { mediaType: types.manifest, digest: image.digest, size: image.blobs.get(image.digest)?.length ?? 0 };
const signature = makeLayout({ subject: root, label: "signed", name: "docker.io/team/app:signature" });

const secret = "a-secret-of-some-length";
const tokens = [
  { name: "ci", sha256: sha256(Buffer.from(secret)).slice(7), actions: ["pull"], repositories: ["team/*"] },
];

let folder: string;
let service: ServingCommand;
beforeAll(async () => {
  folder = await newFolder();
  await stowage(["load", "-"], { cwd: folder, input: await tarOf(joinLayouts(image, multi, signature)) });
  service = await serveStowage(["--store", `file:${folder}/data`], { STOWAGE_TOKENS: JSON.stringify(tokens) });
});
afterAll(async () => {
  service.kill("SIGTERM");
  expect(await service.outcome).toMatchObject({ code: 0 });
});

interface Receipt {
  readonly images: readonly Readonly<Record<string, unknown>>[];
}

/** Loads a file into a new store. */
async function loadAgain(file: string): Promise<Receipt["images"]> {
  const store = `file:${await newFolder()}`;
  const { code, stdout, stderr } = await stowage(["load", file, "--store", store, "--json"], { cwd: folder });
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return (JSON.parse(stdout) as Receipt).images;
}

describe("stowage export", () => {
  it("writes a tarball from a store that loads again", async () => {
    const { code, stdout, stderr } = await stowage(["export", "team/app:1.4", "-o", "app.tar"], { cwd: folder });
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(stderr).toMatch(/^Exporting 30\d KiB from .*\nExported team\/app:1\.4: 30\d KiB, 3 blobs, into app\.tar\n$/);
    expect(await loadAgain("app.tar")).toMatchObject([
      { repository: "team/app", reference: "1.4", digest: image.digest },
    ]);
  });

  it("writes the same bytes from a service, with its token", async () => {
    await stowage(["export", "team/app:1.4", "team/multi", "-o", "store.tar"], { cwd: folder });
    const env = { STOWAGE_TOKEN: secret };
    const args = ["export", "team/app:1.4", "team/multi", "-o", "service.tar", "--from", service.url];
    expect(await stowage(args, { cwd: folder, env })).toMatchObject({ code: 0 });
    const [own, sent] = await Promise.all(
      ["store.tar", "service.tar"].map(async (name) => readFile(join(folder, name))),
    );
    expect(sha256(sent ?? Buffer.of())).toBe(sha256(own ?? Buffer.of()));
    const refused = await stowage(args, { cwd: folder });
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toContain("UNAUTHORIZED");
  });

  it("writes one image of a registry, by its address", async () => {
    const { host } = new URL(service.url);
    const address = `docker://ci:${secret}@${host}/team/app:1.4`;
    const { code } = await stowage(["export", "--from", address], { cwd: folder });
    expect(code).toBe(2); // an image's name has no password
    const open = await serveStowage(["--store", `file:${folder}/data`]);
    const plain = `docker://${new URL(open.url).host}/team/app:1.4`;
    expect(await stowage(["export", "--from", plain, "-o", "one.tar"], { cwd: folder })).toMatchObject({ code: 0 });
    open.kill("SIGTERM");
    await open.outcome;
    expect(await loadAgain("one.tar")).toMatchObject([{ reference: "1.4", digest: image.digest }]);
  });

  it("takes platforms and referrers", async () => {
    const args = ["export", "team/multi", "team/app:1.4", "--platform", "linux/amd64", "--referrers", "-o", "some.tar"];
    expect(await stowage(args, { cwd: folder })).toMatchObject({ code: 0 });
    expect(await loadAgain("some.tar")).toMatchObject([
      { repository: "team/app", reference: "1.4", digest: image.digest },
      { repository: "team/app", reference: "signature", digest: signature.digest },
      { repository: "team/multi", digest: multi.digest, absent: [{ digest: multi.manifests[1] }] },
    ]);
  });

  it("leaves the old file and no part of a new one if it fails", async () => {
    const elsewhere = await newFolder();
    await writeFile(join(elsewhere, "app.tar"), "old");
    for (const [name, problem] of [
      ["team/none:1", "team/none:1"],
      ["team/app:none", "team/app:none"],
      ["team/multi", "Cannot find an image for linux/s390x"],
    ] as const) {
      const args = ["export", name, "-o", "app.tar", "--store", `file:${folder}/data`, "--platform", "linux/s390x"];
      const { code, stderr } = await stowage(args, { cwd: elsewhere });
      expect({ code, stderr }).toMatchObject({
        code: 1,
        stderr: expect.stringContaining(problem) as string,
      });
    }
    expect(await readdir(elsewhere)).toEqual(["app.tar"]);
    expect(await readFile(join(elsewhere, "app.tar"), "utf8")).toBe("old");
  });

  it.each([
    [["export"]],
    [["export", "Team/App"]],
    [["export", "team/app", "--store", "file:./data", "--from", "http://127.0.0.1:1"]],
    [["export", "team/app", "--platform", "arm64"]],
    [["export", "team/app", "--from", "docker://alpine"]],
    [["export", "team/app", "-o", "/no/such/folder/app.tar"]],
  ])("refuses wrong usage: %j", async (args) => {
    const { code, stdout, stderr } = await stowage(args, { cwd: folder });
    expect({ code, stdout, stderr }).toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringContaining("--help") as string,
    });
  });
});
