import { beforeEach, describe, expect, it } from "vitest";
import { sha256 } from "../support/bytes.ts";
import { joinLayouts, makeLayout, tarOf } from "../support/layout.ts";
import { type Outcome, newFolder, serveStowage, stowage } from "../support/run-stowage.ts";

const image = makeLayout({ name: "docker.io/team/app:1" });
const twin = makeLayout({ name: "docker.io/team/app:2" });
const other = makeLayout({ name: "docker.io/team/app:3", label: "other" });
const multi = makeLayout({ name: "docker.io/team/multi:1", platforms: ["linux/amd64", "linux/arm64"] });
const [amd64 = ""] = multi.manifests;

/** Names of all images that are left, by tag or digest. */
async function left(store: string): Promise<string[]> {
  const { stdout } = await stowage(["ls", "--json", "--store", store]);
  const { images } = JSON.parse(stdout) as { images: { repository: string; reference: string }[] };
  return images.map(({ repository, reference }) => `${repository}:${reference}`);
}

describe.each(["--store", "--to"])("stowage rm %s", (option) => {
  let store: string;
  let where: readonly string[];

  beforeEach(async () => {
    store = `file:${await newFolder()}`;
    await stowage(["load", "-", "--store", store], { input: await tarOf(joinLayouts(image, twin, other, multi)) });
    if (option === "--store") {
      where = [option, store];
      return undefined;
    }
    const service = await serveStowage(["--store", store], { STOWAGE_IMMUTABLE_TAGS: "team/app:3" });
    where = [option, service.url];
    return async () => {
      service.kill("SIGTERM");
      expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
    };
  });

  const rm = async (...args: readonly string[]): Promise<Outcome> =>
    stowage(["rm", ...args, ...where], { env: { STOWAGE_IMMUTABLE_TAGS: "team/app:3" } });

  it("removes tags, and images with all their tags, and says what it removed", async () => {
    const tag = await rm("team/app:1");
    expect(tag).toEqual({ code: 0, stdout: `Removed team/app:1 (${image.digest})\n`, stderr: "" });
    expect(await left(store)).toEqual(["team/app:2", "team/app:3", "team/multi:1"]);
    const several = await rm(`team/app@${twin.digest}`, "team/multi:1");
    expect(several).toEqual({
      code: 0,
      stdout: `Removed team/app@${twin.digest} with all its tags\nRemoved team/multi:1 (${multi.digest})\n`,
      stderr: "",
    });
    expect(await left(store)).toEqual(["team/app:3"]);
  });

  it("goes on where it cannot remove one of them, and exits with 1", async () => {
    const { code, stdout, stderr } = await rm(
      "team/app:none",
      "none/app:1",
      `team/app@${sha256(Buffer.from("nothing"))}`,
      `team/multi@${amd64}`,
      "team/app:3",
      "team/app:2",
    );
    expect(code).toBe(1);
    expect(stdout).toBe(`Removed team/app:2 (${twin.digest})\n`);
    expect(stderr.split("\n")).toEqual([
      expect.stringMatching(/^stowage rm: Cannot .*find manifest "none" in repository "team\/app"$/),
      expect.stringMatching(/^stowage rm: Cannot .*find repository "none\/app"$/),
      expect.stringMatching(/^stowage rm: Cannot .*find manifest "sha256:\w{64}" in repository "team\/app"$/),
      expect.stringMatching(/^stowage rm: Cannot .*it is a part of "team\/multi:1", which would not be whole/),
      expect.stringMatching(/^stowage rm: Cannot .*change "team\/app:3": .* never moves and is never removed$/),
      "",
    ]);
    expect(await left(store)).toEqual(["team/app:1", "team/app:3", "team/multi:1"]);
  });
});

describe("stowage rm NAME", () => {
  it("removes all images of a repository, and keeps its index", async () => {
    const store = `file:${await newFolder()}`;
    await stowage(["load", "-", "--store", store], { input: await tarOf(joinLayouts(image, twin, other, multi)) });
    const kept = { env: { STOWAGE_IMMUTABLE_TAGS: "team/app:3" } };
    expect(await stowage(["rm", "team/app", "--store", store], kept)).toMatchObject({ code: 1, stdout: "" });
    expect(await left(store)).toHaveLength(4);
    expect(await stowage(["rm", "team/app", "--store", store])).toEqual({
      code: 0,
      stdout: "Removed all of team/app: 2 images\n",
      stderr: "",
    });
    expect(await left(store)).toEqual(["team/multi:1"]);
    expect((await stowage(["ls", "team/app", "--store", store])).code, "the index is there, and empty").toBe(0);
    await stowage(["load", "-", "--store", store], { input: await tarOf(image) });
    expect(await left(store)).toEqual(["team/app:1", "team/multi:1"]);
  });
});

describe("stowage rm with arguments that it cannot use", () => {
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /found no arguments, expected NAME:TAG\|NAME@DIGEST/],
    [
      ["team/app:1", "team/app", "--to", "http://127.0.0.1:1"],
      /Cannot remove all of "team\/app" by way of a service: expected NAME:TAG or NAME@DIGEST, or --store/,
    ],
    [["team/app:1", "team/app@sha256:ff"], /Cannot use "sha256:ff" as a digest: expected "sha256:" and 64/],
    [
      ["team/app:1", `team/app:1@${image.digest}`],
      /Cannot remove "team\/app:1@sha256:[0-9a-f]+", which has a tag and a digest: expected NAME:TAG, NAME@DIGEST or NAME/,
    ],
    [["team/app:1", "Team/App:1"], /Cannot use "Team\/App" as a repository name/],
    [["team/app:1", "--force"], /--force/],
    [["team/app:1", "--store", "memory:", "--to", "http://127.0.0.1:1"], /found both --store and --to/],
  ];

  it("removes nothing, says what it expects and exits with 2", async () => {
    const cwd = await newFolder();
    await stowage(["load", "-"], { cwd, input: await tarOf(image) });
    for (const [args, message] of wrong) {
      const { code, stdout, stderr } = await stowage(["rm", ...args], { cwd });
      expect(stderr).toMatch(message);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    }
    expect(await left(`file:${cwd}/data`)).toEqual(["team/app:1"]);
  });
});

describe("stowage rm --to a service", () => {
  it("shows its token, and says what is wrong with it", async () => {
    const { secret, entry } = JSON.parse(
      (await stowage(["token", "cleaner", "--allow", "delete", "--json"])).stdout,
    ) as { secret: string; entry: unknown };
    const store = `file:${await newFolder()}`;
    await stowage(["load", "-", "--store", store], { input: await tarOf(image) });
    const service = await serveStowage(["--store", store], { STOWAGE_TOKENS: JSON.stringify([entry]) });
    const rm = ["rm", "team/app:1", "team/app:2", "--to", service.url];
    const nobody = await stowage(rm);
    expect(nobody.stderr).toMatch(
      new RegExp(
        `^stowage rm: Cannot remove from ${service.url}: it answered 401 UNAUTHORIZED: .*; STOWAGE_TOKEN is not set\n$`,
      ),
    );
    expect(nobody).toMatchObject({ code: 1, stdout: "" });
    const { code, stdout } = await stowage(rm, { env: { STOWAGE_TOKEN: secret } });
    expect({ code, stdout }).toEqual({ code: 1, stdout: `Removed team/app:1 (${image.digest})\n` });
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0 });
  });

  it("goes on after a repository from which the token may not delete", async () => {
    const token = await stowage(["token", "cleaner", "--allow", "delete", "--repository", "team/**", "--json"]);
    const { secret, entry } = JSON.parse(token.stdout) as { secret: string; entry: unknown };
    const store = `file:${await newFolder()}`;
    await stowage(["load", "-", "--store", store], { input: await tarOf(image) });
    const service = await serveStowage(["--store", store], { STOWAGE_TOKENS: JSON.stringify([entry]) });
    const { code, stdout, stderr } = await stowage(["rm", "other:1", "team/app:1", "--to", service.url], {
      env: { STOWAGE_TOKEN: secret },
    });
    expect(stderr).toMatch(/^stowage rm: Cannot .* 403 DENIED: Cannot delete from "other": .*\n$/);
    expect({ code, stdout }).toEqual({ code: 1, stdout: `Removed team/app:1 (${image.digest})\n` });
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0 });
  });

  it("says that nobody listens, once", async () => {
    const { code, stderr } = await stowage(["rm", "a:1", "a:2", "--to", "http://127.0.0.1:1"]);
    expect(stderr).toMatch(/^stowage rm: Cannot remove from http:\/\/127\.0\.0\.1:1: .*ECONNREFUSED.*\n$/);
    expect(code).toBe(1);
  });
});

describe("stowage load --store", () => {
  it("moves no tag that STOWAGE_IMMUTABLE_TAGS protects", async () => {
    const cwd = await newFolder();
    const env = { STOWAGE_IMMUTABLE_TAGS: "team/*:v*" };
    const load = async (layout: typeof image): Promise<Outcome> =>
      stowage(["load", "-", "team/app:v1"], { cwd, env, input: await tarOf(layout) });
    expect((await load(image)).code).toBe(0);
    const { code, stderr } = await load(other);
    expect(stderr).toMatch(/Cannot change "team\/app:v1": it is at sha256:\w+, and a tag like this never moves/);
    expect(code).toBe(1);
  });
});
