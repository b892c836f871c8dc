import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { pushLayout } from "../remote/push-layout.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { joinLayouts, makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { type Outcome, listFiles, newFolder, serveStowage, stowage } from "../support/run-stowage.ts";
import { startDistribution } from "../tools/distribution.ts";
import { missingTools } from "../tools/find-tool.ts";

const image = makeLayout({ name: "docker.io/team/app:1" });
const other = makeLayout({ name: "docker.io/team/app:2", label: "other" });
const multi = makeLayout({ name: "docker.io/team/multi:1", platforms: ["linux/amd64", "linux/arm64"] });
const [subject] = multi.roots;
const signature = makeLayout({ layers: [randomBytes(100)], label: "signature", ...(subject && { subject }) });

/** The digest of each tag of a store. */
async function tagsOf(store: string): Promise<Record<string, string>> {
  const { stdout } = await stowage(["ls", "--json", "--store", store]);
  const { images } = JSON.parse(stdout) as { images: { repository: string; reference: string; digest: string }[] };
  return Object.fromEntries(images.map(({ repository, reference, digest }) => [`${repository}:${reference}`, digest]));
}

const before = { "team/app:1": image.digest, "team/app:2": other.digest, "team/multi:1": multi.digest };

describe.each(["--store", "--to"])("stowage tag %s", { timeout: 120_000 }, (option) => {
  let folder: string;
  let store: string;
  let where: readonly string[];

  beforeEach(async () => {
    folder = await newFolder();
    store = `file:${folder}`;
    await stowage(["load", "-", "--store", store], { input: await tarOf(joinLayouts(image, other, multi)) });
    if (option === "--store") {
      where = [option, store];
      return undefined;
    }
    const service = await serveStowage(["--store", store], { STOWAGE_IMMUTABLE_TAGS: "team/app:2" });
    where = [option, service.url];
    return async () => {
      service.kill("SIGTERM");
      expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
    };
  });

  const tag = async (...args: readonly string[]): Promise<Outcome> =>
    stowage(["tag", ...args, ...where], { env: { STOWAGE_IMMUTABLE_TAGS: "team/app:2" } });

  it("gives an image names, moves names, and says so", async () => {
    const blobs = await listFiles(join(folder, "blobs"));
    expect(await tag("team/app:1", "team/app:stable", "release/app:1.4")).toEqual({
      code: 0,
      stdout: `team/app:stable created ${image.digest}\nrelease/app:1.4 created ${image.digest}\n`,
      stderr: "",
    });
    const moved = await tag(`team/app@${other.digest}`, "team/app:stable");
    expect(moved.stdout).toBe(`team/app:stable updated ${other.digest}, was ${image.digest}\n`);
    expect((await tag("team/app:2", "team/app:stable")).stdout).toBe(`team/app:stable unchanged ${other.digest}\n`);
    expect(await tagsOf(store)).toEqual({
      ...before,
      "team/app:stable": other.digest,
      "release/app:1.4": image.digest,
    });
    expect(await listFiles(join(folder, "blobs")), "no blob was written").toEqual(blobs);
  });

  it("prints JSON", async () => {
    const { stdout } = await tag("team/app:1", "team/app:stable", "--json");
    const stable = { repository: "team/app", tag: "stable", digest: image.digest, status: "created" };
    expect(JSON.parse(stdout)).toEqual({ images: [stable] });
  });

  it("brings an image of several platforms into another repository, with its referrers", async () => {
    const input = await tarOf(signature);
    await stowage(["load", "-", "team/multi", "--store", store], { input });
    await tag("team/multi:1", "alone/multi:1", "--no-referrers");
    await tag("team/multi:1", "release/multi:1");
    const service = await serveStowage(["--store", store]);
    const listed = await Promise.all(
      ["alone", "release"].map(async (name) => {
        const answer = await fetch(`${service.url}/v2/${name}/multi/referrers/${multi.digest}`);
        return ((await answer.json()) as { manifests: { digest: string }[] }).manifests.map(({ digest }) => digest);
      }),
    );
    expect(listed).toEqual([[], [signature.digest]]);
    service.kill("SIGTERM");
    await service.outcome;
    expect((await stowage(["verify", "--store", store])).code).toBe(0);
  });

  it("changes nothing if a condition does not hold, or a tag never moves", async () => {
    const found = `found ${image.digest} there, expected`;
    const refused: readonly (readonly [readonly string[], string])[] = [
      [["team/app:2", "team/app:1", "--if-absent"], `Cannot change "team/app:1": ${found} nothing`],
      [["team/app:2", "team/app:1", "--if-match", other.digest], `${found} ${other.digest}`],
      [["team/app:2", "team/app:new", "--if-match", other.digest], `found nothing there, expected ${other.digest}`],
      [["team/app:1", "team/app:2"], `found ${other.digest}, and a tag like this never moves`],
      [["team/app:none", "team/app:new"], "none"],
      [["none/app:1", "team/app:new"], "none/app"],
    ];
    for (const [args, message] of refused) {
      const { code, stdout, stderr } = await tag(...args);
      expect(stderr.replace("is at sha", "found sha")).toContain(message);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    }
    expect(await tagsOf(store)).toEqual(before);
    await tag("team/app:1", "team/app:new", "--if-absent");
    await tag("team/app:2", "team/app:new", "--if-match", image.digest);
    expect(await tagsOf(store)).toEqual({ ...before, "team/app:new": other.digest });
  });
});

describe("stowage tag", { timeout: 60_000 }, () => {
  it("gives all names in one repository of a store, or none", async () => {
    const store = `file:${await newFolder()}`;
    await stowage(["load", "-", "--store", store], { input: await tarOf(joinLayouts(image, other, multi)) });
    const names = ["release/app:1", "team/app:new", "team/app:2"];
    const { code, stdout } = await stowage(["tag", "team/app:1", ...names, "--store", store, "--json"], {
      env: { STOWAGE_IMMUTABLE_TAGS: "team/app:2" },
    });
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ images: [{ repository: "release/app", tag: "1" }] });
    expect(await tagsOf(store)).toEqual({ ...before, "release/app:1": image.digest });
  });

  it("shows its token to a service, also if everybody may pull there", async () => {
    const store = `file:${await newFolder()}`;
    await stowage(["load", "-", "--store", store], { input: await tarOf(image) });
    const hash = sha256(Buffer.from("secret")).slice("sha256:".length);
    const token = { name: "ci", sha256: hash, actions: ["pull", "load"], repositories: ["team/*"] };
    const env = { STOWAGE_TOKENS: JSON.stringify([token]), STOWAGE_ANONYMOUS_PULL: "true" };
    const service = await serveStowage(["--store", store], env);
    const run = async (name: string, secret: string): Promise<Outcome> =>
      stowage(["tag", "team/app:1", name, "--to", service.url], { env: { STOWAGE_TOKEN: secret } });
    expect((await run("team/app:2", "")).stderr).toMatch(/answered 401 .*STOWAGE_TOKEN is not set/);
    expect((await run("other/app:2", "secret")).stderr).toMatch(/answered 403 DENIED/);
    expect(await run("team/new:2", "secret")).toMatchObject({ code: 0, stderr: "" });
    expect(await tagsOf(store)).toEqual({ "team/app:1": image.digest, "team/new:2": image.digest });
    service.kill("SIGTERM");
    await service.outcome;
  });

  it.each([
    [["team/app:1"], 'found "team/app:1", expected IMAGE NEW...'],
    [["team/app", "team/app:1"], 'found "team/app", expected NAME:TAG or NAME@DIGEST'],
    [["team/app:1", "team/app"], 'found "team/app" as the new name, expected NAME:TAG'],
    [["team/app:1", `team/app@${image.digest}`], "as the new name, expected NAME:TAG"],
    [["team/app:1", "team/app:2", "--if-absent", "--if-match", image.digest], "found --if-absent and --if-match"],
    [["team/app:1", "team/app:2", "--if-match", "x"], 'Cannot use "x" as a digest'],
    [["team/app:1", "team/app:2", "--store", "memory:", "--to", "http://127.0.0.1:1"], "found both --store and --to"],
    [["team/app:1", "team/app:2", "--to", "docker://127.0.0.1/team/app"], "found docker:// as --to"],
  ])("refuses %j", async (args, message) => {
    const { code, stdout, stderr } = await stowage(["tag", ...args]);
    expect(stderr).toContain(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });
});

describeIfFound("stowage tag in distribution's registry", missingTools(["docker-registry"]), () => {
  it("gives an image names there, also in another repository", { timeout: 60_000 }, async () => {
    const { answer, stop } = await startDistribution(
      await mkdtemp(join(tmpdir(), "stowage-registry-")),
      await newFolder(),
    );
    const url = `http://${answer}`;
    try {
      await pushLayout(url, makeLayout({ name: "team/multi:1", platforms: ["linux/amd64", "linux/arm64"] }));
      const names = ["team/multi:stable", "release/multi:1"];
      expect(await stowage(["tag", "team/multi:1", ...names, "--to", url])).toEqual({
        code: 0,
        stdout: names.map((name) => `${name} created ${multi.digest}\n`).join(""),
        stderr: "",
      });
      const again = await stowage(["tag", "team/multi:1", "release/multi:1", "--to", url, "--if-absent"]);
      expect(again.stderr).toContain(`found ${multi.digest} there, expected nothing`);
      for (const digest of multi.layers) {
        const { status } = await fetch(`${url}/v2/release/multi/blobs/${digest}`, { method: "HEAD" });
        expect(status).toBe(200);
      }
    } finally {
      await stop();
    }
  });
});
