/** The commands of docs/backup.md, run while images are loaded. */
import { writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import process from "node:process";
import { beforeAll, describe, expect, it } from "vitest";
import { collectGarbage } from "../../src/gc/collect-garbage.ts";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { openStore } from "../../src/open-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { verifyStore } from "../../src/verify/verify-store.ts";
import { fill, imagesOf } from "../copy/copying.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { type S3Server, describeS3Servers } from "../servers/s3-servers.ts";
import { buildStowage } from "../support/build.ts";
import { randomBytes } from "../support/bytes.ts";
import { makeLayout } from "../support/layout.ts";
import { keysOf } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder, stowage } from "../support/run-stowage.ts";
import { toolsPath } from "../tools/find-tool.ts";
import { runShell } from "../tools/run-tool.ts";
import { missingPrograms } from "./infra-tools.ts";
import { readSnippets } from "./page.ts";

const snippets = await readSnippets("docs/backup.md");

/** The snippet of the page that has all these texts in it. */
function snippetWith(...texts: readonly string[]): string {
  const [found, ...more] = snippets.filter((snippet) => texts.every((text) => snippet.includes(text)));
  if (found === undefined || more.length > 0) throw new Error(`expected one snippet with ${texts.join(" and ")}`);
  return found;
}

/** Stores that a tool copies between. */
interface Places {
  /** For `stowage`, and the variables of the page. */
  readonly env: Readonly<Record<string, string>>;
  /** The URL of a store by its name, such as `live`. */
  readonly url: (name: string) => string;
  /** The same store, as the tool calls it. */
  readonly place: (name: string) => string;
}

let count = 0;

/** Loads a new image under a name. Without a name it is found by its digest. */
async function load(store: ObjectStore, name?: string): Promise<void> {
  count += 1;
  const layers = [randomBytes(20_000 + count, count)];
  await fill(store, makeLayout({ layers, ...(name !== undefined && { name: `docker.io/${name}` }) }));
}

/** The first part of each key, without the index of the default repository. */
async function foldersOf(store: ObjectStore): Promise<string[]> {
  const folders = (await keysOf(store)).map((key) => key.split("/", 1)[0] ?? "");
  return [...new Set(folders)].filter((name) => name !== "index.json").toSorted();
}

async function expectWhole(store: ObjectStore): Promise<void> {
  expect((await verifyStore(openLayout(store))).problems).toEqual([]);
}

/** A store with tags, an image without a tag, and each kind of object that is never copied. */
async function fillStore(store: ObjectStore): Promise<void> {
  for (const name of ["app:1", "team/app:1.4", "team/app:1.4", "team/gone:1", "moving:latest", undefined]) {
    await load(store, name);
  }
  await updateRepository(openLayout(store), { repository: "team/gone", changes: [{ op: "remove", tag: "1" }] });
  expect((await collectGarbage(openLayout(store))).condemned.blobs).toBeGreaterThan(0);
  for (const key of ["staging/left", "incoming/app.tar", "intents/app/_layout/left"]) {
    await store.put(key, Buffer.from("left"), { condition: "absent" });
  }
  const all = ["blobs", "condemned", "incoming", "intents", "oci-layout", "repositories", "staging"];
  expect(await foldersOf(store)).toEqual(all);
}

function describeTool(tool: "aws" | "rclone", open: () => Promise<Places>): void {
  const backup = snippetWith(tool === "aws" ? "aws s3 cp" : "rclone copy", "mktemp");
  const restore = snippetWith(tool === "aws" ? "aws s3 sync" : "rclone copy", "RESTORED");
  const [readIndexes = "", copyBlobs = "", writeIndexes = ""] = backup.split("\n").slice(1);

  it("makes a whole backup while images are loaded, and restores it", { timeout: 240_000 }, async () => {
    const { env: settings, url, place } = await open();
    const [live, saved, restored] = await Promise.all(
      (["live", "saved", "restored"] as const).map(async (name) => openStore(url(name), settings)),
    );
    if (live === undefined || saved === undefined || restored === undefined) throw new Error("expected three stores");
    const variables = { LIVE: place("live"), BACKUP: place("saved"), RESTORED: place("restored") };
    const env = { ...settings, ...variables, indexes: await newFolder() };
    await fillStore(live);

    const before = await imagesOf(live);
    for (const [i, line] of [readIndexes, copyBlobs, writeIndexes].entries()) {
      await runShell(line, { env });
      for (const name of [`during:${i}`, "moving:latest"]) await load(live, name);
    }
    await expectWhole(saved);
    expect(await imagesOf(saved)).toEqual(before);
    expect(await foldersOf(saved)).toEqual(["blobs", "repositories"]);

    const known = await imagesOf(live);
    const loads = ["beside:1", "beside:2", "other:1", "other:2"].map(async (name) => load(live, name));
    await Promise.all([runShell(backup, { env }), ...loads]);
    await expectWhole(saved);
    expect(await imagesOf(saved)).toEqual(expect.arrayContaining(known));

    await runShell(restore, { env });
    expect(await imagesOf(restored)).toEqual(await imagesOf(saved));
    await load(restored, "after:1");
    expect(await keysOf(restored)).toContain("oci-layout");
    const verified = await stowage(["verify", "--store", url("restored")], { env: settings });
    expect(verified.stdout).toMatch(/^All is well in /);
  });

  it("makes none that is whole in another order", { timeout: 120_000 }, async () => {
    const { env: settings, url, place } = await open();
    const env = { ...settings, LIVE: place("live"), BACKUP: place("saved"), indexes: await newFolder() };
    const live = await openStore(url("live"), settings);
    await load(live, "app:1");
    await runShell(copyBlobs, { env });
    await load(live, "app:2");
    for (const line of [readIndexes, writeIndexes]) await runShell(line, { env });
    const { problems } = await verifyStore(openLayout(await openStore(url("saved"), settings)));
    expect(problems).not.toEqual([]);
  });
}

async function placesOn(server: S3Server, remote: string): Promise<Places> {
  await makeTestBucket(createS3Client(s3Environment(server)));
  const prefix = `${testBucket}/tests/${crypto.randomUUID()}`;
  const rclone = {
    TYPE: "s3",
    PROVIDER: "Other",
    ENDPOINT: server.endpoint,
    ACCESS_KEY_ID: server.accessKeyId,
    SECRET_ACCESS_KEY: server.secretAccessKey,
  };
  const settings = Object.entries(rclone).map(([name, value]) => [`RCLONE_CONFIG_TEST_${name}`, value] as const);
  return {
    env: {
      ...s3Environment(server),
      AWS_REGION: "us-east-1",
      RCLONE_CONFIG: join(await newFolder(), "none.conf"),
      ...Object.fromEntries(settings),
    },
    url: (name) => `s3://${prefix}/${name}`,
    place: (name) => `${remote}${prefix}/${name}`,
  };
}

async function placesInFolder(): Promise<Places> {
  const folder = await newFolder();
  return {
    env: { RCLONE_CONFIG: join(folder, "none.conf") },
    url: (name) => `file:${folder}/${name}`,
    place: (name) => `${folder}/${name}`,
  };
}

await describeS3Servers(
  "docs/backup.md",
  (server) => {
    describeIfFound("with the AWS CLI", missingPrograms("aws"), () => {
      describeTool("aws", async () => placesOn(server, "s3://"));
    });
    describeIfFound("with rclone", missingPrograms("rclone"), () => {
      describeTool("rclone", async () => placesOn(server, "test:"));
    });
  },
  ["versitygw"],
);

describeIfFound("docs/backup.md, with rclone between directories", missingPrograms("rclone"), () => {
  describeTool("rclone", placesInFolder);
});

describe("docs/backup.md, by stowage itself", () => {
  let path = "";
  beforeAll(async () => {
    const folder = await newFolder();
    const program = `#!/bin/sh\nexec "${process.execPath}" "${await buildStowage()}" "$@"\n`;
    await writeFile(join(folder, "stowage"), program, { mode: 0o755 });
    path = [folder, toolsPath].join(delimiter);
  });

  it("makes a backup with images without a tag, and brings a tag back", async () => {
    const { url } = await placesInFolder();
    const [live, saved] = [url("live"), url("saved")];
    const env = { PATH: path, LIVE: live, BACKUP: saved };
    const store = await openStore(live, {});
    await fillStore(store);
    const before = await imagesOf(store);
    expect(before.join()).toMatch(/images@sha256:/);
    expect(await runShell(snippetWith("stowage copy", "verify"), { env })).toMatch(/^All is well in /m);
    expect(await imagesOf(await openStore(saved, {}))).toEqual(before);

    await load(store, "team/app:1.4");
    expect(await imagesOf(store)).not.toEqual(before);
    await runShell(snippetWith("stowage copy", "team/app:1.4"), { env });
    expect(await imagesOf(store)).toEqual(before);
  });

  it("brings a tag back by the digest of its former image", async () => {
    const { url } = await placesInFolder();
    const live = url("live");
    const store = await openStore(live, {});
    await load(store, "team/app:1.4");
    const before = await imagesOf(store);
    const [, digest = ""] = /(sha256:\w+)/.exec(before.join()) ?? [];
    await load(store, "team/app:1.4");
    await runShell(snippetWith("stowage tag"), { env: { PATH: path, LIVE: live, DIGEST: digest } });
    expect(await imagesOf(store)).toEqual(before);
  });
});
