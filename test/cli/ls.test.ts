import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { joinLayouts, makeLayout, tarOf } from "../support/layout.ts";
import { newFolder, stowage } from "../support/run-stowage.ts";

const named = makeLayout({ name: "docker.io/team/app:1.4" });
const older = makeLayout({ name: "docker.io/team/app:1.10", label: "older" });
const index = makeLayout({ platforms: ["linux/amd64", "linux/arm64"], refName: "multi" });
const nameless = makeLayout({ label: "nameless" });

describe("stowage ls", () => {
  let folder: string;

  beforeAll(async () => {
    folder = await newFolder();
    await stowage(["load", "-"], { cwd: folder, input: await tarOf(joinLayouts(named, older, index, nameless)) });
  });

  it("prints a table of all images", async () => {
    const { code, stdout, stderr } = await stowage(["ls"], { cwd: folder });
    expect(stdout).toBe(`REPOSITORY  TAG    KIND   DIGEST
images      multi  index  ${index.digest}
images      -      image  ${nameless.digest}
team/app    1.10   image  ${older.digest}
team/app    1.4    image  ${named.digest}
`);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });

  it("prints those of one repository as JSON", async () => {
    const { stdout } = await stowage(["ls", "images", "--json", "--store", `file:${folder}/data`]);
    const [root] = index.roots;
    const [namelessRoot] = nameless.roots;
    expect(JSON.parse(stdout)).toEqual({
      images: [
        {
          repository: "images",
          reference: "multi",
          digest: index.digest,
          mediaType: root?.mediaType,
          size: root?.size,
        },
        {
          repository: "images",
          reference: nameless.digest,
          digest: nameless.digest,
          mediaType: namelessRoot?.mediaType,
          size: namelessRoot?.size,
        },
      ],
    });
  });

  it("tells signatures and the like from images", async () => {
    const cwd = await newFolder();
    const [subject] = index.roots;
    if (subject === undefined) throw new Error("expected a root");
    const signature = makeLayout({ subject: { ...subject, annotations: {} } });
    await stowage(["load", "-"], { cwd, input: await tarOf(joinLayouts(index, signature)) });
    expect((await stowage(["ls"], { cwd })).stdout).toBe(`REPOSITORY  TAG    KIND      DIGEST
images      multi  index     ${index.digest}
images      -      referrer  ${signature.digest}
`);
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

  it("exits with 1 for a repository that is not there, with 2 for what cannot be one", async () => {
    const unknown = await stowage(["ls", "nowhere"], { cwd: folder });
    expect(unknown).toEqual({ code: 1, stdout: "", stderr: 'stowage ls: Cannot find repository "nowhere"\n' });
    expect(await stowage(["ls", "NoName"])).toMatchObject({ code: 2, stdout: "" });
    expect(await stowage(["ls", "a", "b"])).toMatchObject({ code: 2, stdout: "" });
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
});
