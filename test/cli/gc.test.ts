import { mkdir, readdir, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { type MarkState, moveMark, readMark } from "../../src/layout/marks.ts";
import { condemnedPrefix, digestOfMarkKey, gcRunKey } from "../../src/layout/keys.ts";
import { openStore } from "../../src/open-store.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { clockAfter, hour } from "../gc/clock-after.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { chunksOf, randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { bytesAt, loadBytes } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";
import { newFolder, stowage } from "../support/run-stowage.ts";

const kept = makeLayout({ layers: [randomBytes(1000)], name: "docker.io/team/app:1" });
const removed = makeLayout({ layers: [randomBytes(1000), randomBytes(5000, 2)], name: "docker.io/team/app:2" });

/** Moves every mark back in time, as if so many hours had passed. */
async function age(store: ObjectStore, hours: number): Promise<void> {
  for await (const { key } of store.list(condemnedPrefix)) {
    const digest = digestOfMarkKey(key) ?? "sha256:";
    const from = await readMark(store, digest);
    const to: MarkState = from?.state ?? "condemned";
    expect(await moveMark({ store, clock: clockAfter(-hours * hour) }, digest, { from, to })).toBe("moved");
  }
}

function describeGc(
  open: () => Promise<{ readonly url: string; readonly env: Readonly<Record<string, string>> }>,
): void {
  it("says what it would do, condemns, and frees a day later", { timeout: 120_000 }, async () => {
    const { url, env } = await open();
    for (const image of [kept, removed])
      await stowage(["load", "-", "--store", url], { env, input: await tarOf(image) });
    const store = await openStore(url, env);
    await updateRepository(openLayout(store), { repository: "team/app", changes: [{ op: "remove", tag: "2" }] });

    const run = async (...args: readonly string[]): ReturnType<typeof stowage> =>
      stowage(["gc", "--store", url, ...args], { env });
    const condemned = "3 blobs (5.67 KiB): a run after 24h deletes what is not needed by then\n";
    expect(await run("--dry-run")).toEqual({
      code: 0,
      stdout: `Would have freed 0 blobs (0 bytes) in ${url}\nWould have condemned ${condemned}`,
      stderr: "",
    });
    expect((await run()).stdout).toBe(`Freed 0 blobs (0 bytes) in ${url}\nCondemned ${condemned}`);
    expect((await run("--grace", "7d")).stdout).toContain(
      "3 blobs (5.67 KiB) condemned before: the grace time is not over\n",
    );
    await age(store, 25);
    expect((await run("--dry-run")).stdout).toContain(`Would have freed 3 blobs (5.67 KiB) in ${url}\n`);
    expect(JSON.parse((await run("--json")).stdout)).toMatchObject({ freed: { blobs: 3 }, condemned: { blobs: 0 } });
    const verified = await stowage(["verify", "--store", url], { env });
    expect(verified.stdout).toMatch(/^All is well in .*: 1 image in 1 repository, 3 blobs \([^)]*\)\n$/);
  });
}

describe("stowage gc, of a directory", () => {
  describeGc(async () => ({ url: `file:${await newFolder()}`, env: {} }));
});

await describeS3Servers("stowage gc", (server) => {
  const env = s3Environment(server);
  beforeAll(async () => makeTestBucket(createS3Client(env)));
  describeGc(async () => ({ url: `s3://${testBucket}/gc/${crypto.randomUUID()}`, env }));
});

describe("stowage gc", () => {
  it("deletes what an upload has left in a directory", async () => {
    const folder = await newFolder();
    await stowage(["load", "-", "--store", `file:${folder}`], { input: await tarOf(kept) });
    await mkdir(join(folder, "staging"), { recursive: true });
    for (const [name, days] of [
      ["old", 3],
      ["young", 1],
    ] as const) {
      await writeFile(join(folder, "staging", name), "part");
      const then = new Date(Date.now() - days * 24 * hour);
      await utimes(join(folder, "staging", name), then, then);
    }
    const { stdout } = await stowage(["gc", "--store", `file:${folder}`]);
    expect(stdout).toContain("Deleted 1 object (4 bytes) of uploads that nobody has finished in two days\n");
    expect(await readdir(join(folder, "staging"))).toEqual(["young"]);
  });

  it.each([
    [["x"], "expected options only"],
    [["--grace", "1"], "expected a time such as 90m, 24h or 7d"],
    [["--grace", "59m"], "a grace time of 59 min: at least 60 min are needed"],
    [["--for", "10"], 'found --for "10", expected a time such as 90m, 24h or 7d'],
    [["--for", "0s"], 'found --for "0s", expected a time'],
    [["--for", "10m", "--now"], "found --for and --now, expected one of them"],
    [["--for", "10m", "--force"], "found --for and --force, expected one of them"],
    [["--for", "10m", "--dry-run"], "found --for and --dry-run, expected one of them"],
  ])("refuses %j", async (args, reason) => {
    const { code, stdout, stderr } = await stowage(["gc", ...args]);
    expect(stderr).toContain(reason);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });

  it("takes the grace time of the settings", async () => {
    const folder = await newFolder();
    await stowage(["load", "-", "--store", `file:${folder}`], { input: await tarOf(kept) });
    const run = async (...args: readonly string[]): ReturnType<typeof stowage> =>
      stowage(["gc", "--store", `file:${folder}`, ...args], { env: { STOWAGE_GC_GRACE: "7d" } });
    expect((await run()).stdout).toContain("a run after 168h deletes");
    expect((await run("--grace", "2h")).stdout).toContain("a run after 2h deletes");
  });

  it("ends in time with --for, and the next run goes on there", { timeout: 60_000 }, async () => {
    const folder = await newFolder();
    const store = new DirectoryStore(folder);
    for (let i = 0; i < 50; i++) {
      await loadBytes(chunksOf(await tarOf(makeLayout({ label: `${i}` })), 10_000), store, { name: `team/app:${i}` });
    }
    await updateRepository(openLayout(store), { repository: "team/app", changes: [{ op: "remove", tag: "7" }] });
    const run = async (time: string): ReturnType<typeof stowage> =>
      stowage(["gc", "--store", `file:${folder}`, "--for", time]);
    const began = async (): Promise<string | undefined> =>
      /"began":(\d+)/.exec((await bytesAt(store, gcRunKey)).toString("latin1"))?.[1];
    const goesOn = "The time is over: the next run with --for goes on here\n";
    const stopped = await run("0.001s");
    expect(stopped).toMatchObject({ code: 0, stderr: "" });
    expect(stopped.stdout).toContain(goesOn);
    const first = await began();
    const ended = await run("1h");
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    expect(ended.stdout).toContain("Condemned 2 blobs");
    expect(ended.stdout).not.toContain(goesOn);
    expect(await began()).toBe(first);
    const verified = await stowage(["verify", "--store", `file:${folder}`]);
    expect(verified.stdout).toMatch(/^All is well in .*: 49 images in 1 repository/);
    expect((await stowage(["ls", "--store", `file:${folder}`])).code).toBe(0);
  });

  describe("with rules", () => {
    /** A store with the tags 1, 2 and 3 of ci/app, in this order, and some way to give it rules. */
    async function storeWithTags(): Promise<{ readonly folder: string; readonly rules: string }> {
      const folder = await newFolder();
      const store = new DirectoryStore(join(folder, "images"));
      for (const tag of ["1", "2", "3"]) {
        const layout = makeLayout({ label: tag });
        await loadBytes(chunksOf(await tarOf(layout), 10_000), store, { name: `ci/app:${tag}` });
      }
      const rules = join(folder, "rules.json");
      await writeFile(rules, '[{ "tags": ["1"], "keep": "always" }, { "repositories": ["ci/**"], "keepLatest": 1 }]');
      return { folder: `file:${join(folder, "images")}`, rules };
    }

    it("says which rule keeps or drops each tag, and drops", async () => {
      const { folder, rules } = await storeWithTags();
      const args = ["gc", "--store", folder, "--retention", rules];
      const planned = await stowage([...args, "--dry-run"]);
      expect(planned).toMatchObject({ code: 0, stderr: "" });
      expect(
        planned.stdout
          .replaceAll(/\d+m ago/g, "0m ago")
          .split("\n")
          .slice(0, 4),
      ).toEqual([
        "Would have kept ci/app:1: rule 1, always",
        "Would have dropped ci/app:2: rule 2, not among the latest 1, changed 0m ago",
        "Would have kept ci/app:3: rule 2, among the latest 1",
        "Would have dropped 1 image by rules and ends",
      ]);
      const { stdout } = await stowage([...args, "--dry-run", "--json"]);
      expect(JSON.parse(stdout)).toMatchObject({
        dropped: 1,
        verdicts: [
          { repository: "ci/app", reference: "1", decision: "kept", rule: 1, reason: "always" },
          { reference: "2", decision: "dropped", rule: 2 },
          { reference: "3", decision: "kept", rule: 2 },
        ],
      });
      const run = await stowage(args);
      expect(run.stdout).toMatch(/^Dropped ci\/app:2: rule 2, .*\nDropped 1 image by rules and ends\nFreed 0 blobs/);
      expect((await stowage(["gc", "--store", folder, "--dry-run"])).stdout).not.toContain("ropped");
      expect((await stowage(["ls", "ci/app", "--store", folder, "--json"])).stdout).not.toContain('"2"');
    });

    it("takes them from the settings, in slices too", async () => {
      const { folder, rules } = await storeWithTags();
      const run = async (env: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<string> =>
        (await stowage(["gc", "--store", folder, ...args], { env })).stdout;
      const setting = { STOWAGE_RETENTION: '[{ "keepLatest": 2 }]' };
      expect(await run(setting, "--dry-run")).toContain("Would have dropped ci/app:1: rule 1, ");
      expect(await run(setting, "--dry-run", "--retention", rules)).toContain("Would have kept ci/app:1: rule 1, ");
      expect(await run({ STOWAGE_RETENTION_FILE: rules }, "--for", "1h")).toContain("Dropped ci/app:2: rule 2, ");
    });

    it("drops an image at the end that its load has given it", async () => {
      const folder = await newFolder();
      const url = `file:${folder}`;
      const loaded = await stowage(["load", "-", "--store", url, "--expires", "1s"], { input: await tarOf(kept) });
      const [, end = ""] = /^ {2}ends {4}(\S+)$/m.exec(loaded.stdout) ?? [];
      const listed = await stowage(["ls", "--store", url, "--json"]);
      expect(JSON.parse(listed.stdout)).toMatchObject({ images: [{ reference: "1", expires: end }] });
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, Date.parse(end) - Date.now() + 1)));
      const { stdout } = await stowage(["gc", "--store", url]);
      expect(stdout).toContain(`Dropped team/app:1: its end was ${end}\n`);
      const refused = await stowage(["load", "-", "--store", url, "--expires", "0s"], { input: await tarOf(kept) });
      expect(refused).toMatchObject({ code: 2, stdout: "" });
      expect(refused.stderr).toContain(
        'found --expires "0s", expected a time such as 90m, 72h or 7d, from 1s to 3650d',
      );
    });

    it.each([
      ["no file", undefined, "ENOENT"],
      ["an empty file", "", "found an empty file, expected a JSON list"],
      ["a rule that says nothing", "[{}]", "entry 1 of 1: keep is not there"],
    ])("does nothing with %s", async (_, text, problem) => {
      const { folder, rules } = await storeWithTags();
      const path = `${rules}.other`;
      if (text !== undefined) await writeFile(path, text);
      const { code, stdout, stderr } = await stowage(["gc", "--store", folder, "--retention", path]);
      expect(stderr).toContain(`--retention, ${path}: `);
      expect(stderr).toContain(problem);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    });
  });

  it("finds nothing to do in an empty store", async () => {
    const folder = await newFolder();
    await writeFile(join(folder, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    expect(await stowage(["gc", "--store", `file:${folder}`])).toMatchObject({ code: 0, stderr: "" });
  });

  it("deletes at once with --now", async () => {
    const folder = await newFolder();
    const url = `file:${folder}`;
    for (const image of [kept, removed]) await stowage(["load", "-", "--store", url], { input: await tarOf(image) });
    await stowage(["rm", "team/app:2", "--store", url]);
    expect(await stowage(["gc", "--now", "--grace", "2h", "--store", url])).toMatchObject({ code: 2, stdout: "" });
    expect(await stowage(["gc", "--now", "--store", url])).toEqual({
      code: 0,
      stdout: `Freed 3 blobs (5.67 KiB) in ${url}\n`,
      stderr: "",
    });
    expect((await stowage(["verify", "--store", url])).stdout).toMatch(
      /^All is well in .*: 1 image in 1 repository, 3 blobs/,
    );
  });

  it("exits with 1 for a store that is damaged", async () => {
    const folder = await newFolder();
    await stowage(["load", "-", "--store", `file:${folder}`], { input: await tarOf(kept) });
    const store = await openStore(`file:${folder}`, {});
    await store.delete(`blobs/${kept.digest.replace(":", "/")}`);
    const { code, stderr } = await stowage(["gc", "--store", `file:${folder}`]);
    expect(stderr).toBe(
      `stowage gc: Cannot tell what manifest "${kept.digest}" needs: an index names it, and it is not there; no blob was deleted: ` +
        "repair the image (`stowage load --repair`) or remove it (`stowage verify` names it), or go on with `stowage gc --force`\n",
    );
    expect(code).toBe(1);
    const forced = await stowage(["gc", "--force", "--store", `file:${folder}`]);
    expect(forced.stderr).toBe(
      `stowage gc: Cannot tell what manifest "${kept.digest}" needs: an index names it, and it is not there\n`,
    );
    expect(forced).toMatchObject({ code: 1, stdout: expect.stringContaining("Condemned 2 blobs") as unknown });
  });
});
