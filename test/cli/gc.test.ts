import { mkdir, readdir, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { commitSet } from "../../src/layout/commit-set.ts";
import { type MarkState, moveMark, readMark } from "../../src/layout/condemned.ts";
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
    await commitSet(openLayout(store), { repository: "team/app", changes: [{ op: "remove", tag: "2" }] });

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
    await commitSet(openLayout(store), { repository: "team/app", changes: [{ op: "remove", tag: "7" }] });
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
      `stowage gc: Cannot tell what manifest "${kept.digest}" needs: an index names it, and it is not there; nothing was changed: ` +
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
