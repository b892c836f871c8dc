import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { imagesOf } from "../copy/copying.ts";
import { pushLayout } from "../remote/push-layout.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { type Layout, joinLayouts, makeLayout, tarOf, types } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import {
  type Outcome,
  type RunOptions,
  type ServingCommand,
  listFiles,
  newFolder,
  serveStowage,
  startCommand,
  stowage,
  until,
} from "../support/run-stowage.ts";
import { startDistribution } from "../tools/distribution.ts";
import { type Tool, missingTools } from "../tools/find-tool.ts";
import type { Service } from "../tools/start-service.ts";
import { startCraneRegistry } from "../tools/workshop.ts";
import { startProxy } from "./faulty-proxy.ts";

const large = randomBytes(305_000);
const app = makeLayout({ layers: [large], name: "docker.io/team/app:1.4" });
const next = makeLayout({ layers: [large], label: "next", name: "docker.io/team/app:1.5" });
const multi = makeLayout({ platforms: ["linux/amd64", "linux/arm64"], name: "docker.io/team/multi:latest" });
const root = { mediaType: types.manifest, digest: app.digest, size: app.blobs.get(app.digest)?.length ?? 0 };
const signature = makeLayout({ subject: root, label: "signed", name: "docker.io/team/app:signature" });
const everything = joinLayouts(app, next, multi, signature);

const secret = "a-secret-of-some-length";
const tokens = [
  { name: "ci", sha256: sha256(Buffer.from(secret)).slice(7), actions: ["pull"], repositories: ["team/*"] },
];

let folder: string;
beforeAll(async () => {
  folder = await newFolder();
  await stowage(["load", "-"], { cwd: folder, input: await tarOf(everything) });
});

interface Receipt {
  readonly images: readonly Readonly<Record<string, unknown>>[];
  readonly failures: readonly Readonly<Record<string, unknown>>[];
  readonly blobs: Readonly<Record<"total" | "present" | "copied" | "copiedByStore", { blobs: number; bytes: number }>>;
}

/** Copies from the folder's store into another store beside it. */
async function copy(to: string, args: readonly string[] = [], options: RunOptions = {}): Promise<Outcome> {
  return stowage(["copy", "file:./data", to, ...args], { cwd: folder, ...options });
}

async function receiptOf(outcome: Promise<Outcome>, code = 0): Promise<Receipt> {
  const { code: found, stdout, stderr } = await outcome;
  expect({ code: found, stderr }).toMatchObject({ code });
  return JSON.parse(stdout) as Receipt;
}

async function list(path: string): Promise<string[]> {
  return imagesOf(new DirectoryStore(join(folder, path)));
}

/** A registry lists a referrer without its tag, so the copy has it by its digest too. */
async function listTags(path: string): Promise<string[]> {
  return (await list(path)).filter((image) => !image.includes("@"));
}

async function expectWhole(store: string, env: Readonly<Record<string, string>> = {}): Promise<void> {
  expect(await stowage(["verify", "--store", store], { cwd: folder, env })).toMatchObject({ code: 0 });
}

describe("stowage copy", () => {
  it("copies all images, and says so", async () => {
    const { code, stdout, stderr } = await copy("file:./all");
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(/^Copying 30\d KiB of 30\d KiB from file:\S+data into file:\S+all\n$/) as string,
    });
    const lines = stdout.trimEnd().split("\n");
    expect(lines.slice(0, -1).toSorted()).toEqual(
      [app, next, multi, signature]
        .map((layout) => `${layout.roots[0]?.annotations?.["io.containerd.image.name"]} created ${layout.digest}`)
        .map((line) => line.replace("docker.io/", ""))
        .toSorted(),
    );
    expect(lines.at(-1)).toMatch(
      /^Copied 4 images, 0 unchanged: \d+ blobs with 30\d KiB, 0 bytes there already, in .+$/,
    );
    expect(await list("all")).toEqual(await list("data"));
    await expectWhole("file:./all");
  });

  it("finds everything unchanged the second time", async () => {
    await copy("file:./twice");
    const { code, stdout } = await copy("file:./twice");
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: expect.stringMatching(
        /^Copied 0 images, 4 unchanged: 0 blobs with 0 bytes, 30\d KiB there already, in .+\n$/,
      ) as string,
    });
  });

  it("prints a receipt with --json", async () => {
    const { images, failures, blobs } = await receiptOf(copy("file:./json", ["team/app:1.4", "--json"]));
    expect(failures).toEqual([]);
    expect(images).toEqual([{ repository: "team/app", reference: "1.4", digest: app.digest, status: "created" }]);
    const total = { blobs: app.blobs.size + signature.blobs.size, bytes: expect.any(Number) as number };
    expect(blobs).toMatchObject({ total, present: { blobs: 0 }, copied: total, copiedByStore: { blobs: 0 } });
  });

  it("copies under another name, and one platform", async () => {
    const args = ["team/multi", "--as", "ours/multi:1", "--platform", "linux/arm64", "--json"];
    const { images } = await receiptOf(copy("file:./named", args));
    expect(images).toMatchObject([{ repository: "ours/multi", reference: "1", digest: multi.digest }]);
    expect(await list("named")).toEqual([`ours/multi:1 ${multi.digest}`]);
    await expectWhole("file:./named");
  });

  it("writes nothing with --dry-run", async () => {
    const { code, stdout, stderr } = await copy("file:./dry", ["team/app:1.4", "--dry-run"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(
      /^team\/app:1\.4 created sha256:\w+\nWould copy 1 image, 0 unchanged: 6 blobs with 299 KiB,/,
    );
    expect(await listFiles(join(folder, "dry"))).toEqual([]);
  });

  it("exits with 1 and a list if one image fails, and copies the others", async () => {
    const store = "file:./some";
    const env = { STOWAGE_IMMUTABLE_TAGS: "1.4" };
    await copy(store, ["team/app:1.5", "--as", "team/app:1.4"]);
    const args = ["team/app:1.4", "team/app:1.5", "team/app:none", "--json"];
    const outcome = await copy(store, args, { env });
    expect(outcome.stderr).toContain("stowage copy: team/app:1.4: TAG_IMMUTABLE: Cannot change");
    expect(outcome.stderr).toContain('stowage copy: team/app:none: MANIFEST_UNKNOWN: Cannot find "team/app:none"');
    const { images, failures } = await receiptOf(Promise.resolve(outcome), 1);
    expect(images).toMatchObject([{ reference: "1.5", status: "created" }]);
    expect(new Set(failures)).toEqual(
      new Set([
        {
          repository: "team/app",
          reference: "1.4",
          code: "TAG_IMMUTABLE",
          message: expect.stringContaining("Cannot change") as string,
        },
        {
          repository: "team/app",
          reference: "none",
          code: "MANIFEST_UNKNOWN",
          message: expect.stringContaining("Cannot find") as string,
        },
      ]),
    );
    expect(await list("some")).toEqual([`team/app:1.4 ${next.digest}`, `team/app:1.5 ${next.digest}`]);
  });

  it.each([
    ["team/none", 'Cannot find repository "team/none"'],
    ["none*", 'Cannot find an image for "none*"'],
    ["team/app:3*", 'Cannot find an image for "team/app:3*"'],
  ])("exits with 1 if nothing fits %s", async (pattern, problem) => {
    const { code, stdout, stderr } = await copy("file:./never", [pattern]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain(problem);
    expect(await listFiles(join(folder, "never"))).toEqual([]);
  });

  it("exits with 1 if there is no such store", async () => {
    const { code, stderr } = await stowage(["copy", "file:./none", "file:./never"], { cwd: folder });
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining("no Stowage store") as string });
  });

  it.each([
    [["copy"]],
    [["copy", "file:./data"]],
    [["copy", "file:./data", "https://ci@stowage.example"]],
    [["copy", "file:./data", "ftp://other"]],
    [["copy", "file:./data", "file:./x", "Team/App"]],
    [["copy", "file:./data", "file:./x", "team/app:1 4"]],
    [["copy", "file:./data", "file:./x", "--as", "ours/app"]],
    [["copy", "file:./data", "file:./x", "team/app:1.4", "--as", "Ours"]],
    [["copy", "file:./data", "file:./x", "team/app:1.4", "--as", `ours@sha256:${"0".repeat(64)}`]],
    [["copy", "file:./data", "file:./x", "--latest", "0"]],
    [["copy", "file:./data", "file:./x", "--concurrency", "many"]],
    [["copy", "file:./data", "file:./x", "--copy", "fast"]],
    [["copy", "file:./data", "file:./x", "--platform", "arm64"]],
    [["copy", "file:./data", "file:./x", "--watch", "10"]],
    [["copy", "file:./data", "file:./x", "--watch", "2d"]],
    [["copy", "docker://127.0.0.1:1/a:1", "file:./x", "team/app"]],
  ])("refuses wrong usage: %j", async (args) => {
    const { code, stdout, stderr } = await stowage(args, { cwd: folder });
    expect({ code, stdout, stderr }).toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringContaining("--help") as string,
    });
    expect(await listFiles(join(folder, "x"))).toEqual([]);
  });

  it("copies again and again with --watch, until it is stopped", async () => {
    const source = await newFolder();
    const load = async (layout: typeof app): Promise<Outcome> =>
      stowage(["load", "-"], { cwd: source, input: await tarOf(layout) });
    await load(app);
    const running = await startCommand(["copy", "file:./data", "file:./mirror", "--watch", "1s"], { cwd: source });
    await until(() => (running.stdout().includes("Copied 1 image") ? true : undefined), 30);
    await load(next);
    await until(() => (running.stdout().includes(`team/app:1.5 created ${next.digest}`) ? true : undefined), 30);

    // An error of a later copy is reported, and the copy after that succeeds.
    const index = join(source, "data/repositories/team/app/_layout/index.json");
    const bytes = await readFile(index);
    await writeFile(index, "{");
    await until(() => (running.stderr().includes("stowage copy: STORE_DAMAGED") ? true : undefined), 30);
    await writeFile(index, bytes);
    const rounds = running.stdout().split("Copied 0 images, 2 unchanged").length;
    await until(() => (running.stdout().split("Copied 0 images, 2 unchanged").length > rounds ? true : undefined), 30);
    running.kill("SIGINT");
    expect(await running.outcome).toMatchObject({ code: 130 });
    const images = await imagesOf(new DirectoryStore(join(source, "mirror")));
    expect(images).toEqual([`team/app:1.4 ${app.digest}`, `team/app:1.5 ${next.digest}`]);
  });
});

describe("stowage copy from a service", () => {
  let service: ServingCommand;
  let guarded: ServingCommand;
  beforeAll(async () => {
    service = await serveStowage(["--store", `file:${folder}/data`]);
    guarded = await serveStowage(["--store", `file:${folder}/data`], { STOWAGE_TOKENS: JSON.stringify(tokens) });
  });
  afterAll(async () => {
    for (const running of [service, guarded]) {
      running.kill("SIGTERM");
      expect(await running.outcome).toMatchObject({ code: 0 });
    }
  });

  it("shows its token, and fails without one", async () => {
    const args = ["copy", guarded.url, "file:./served"];
    const refused = await stowage(args, { cwd: folder });
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toContain("UNAUTHORIZED");
    const outcome = await stowage(args, { cwd: folder, env: { STOWAGE_TOKEN: secret } });
    expect(outcome).toMatchObject({ code: 0 });
    expect(`${outcome.stdout}${outcome.stderr}`).not.toContain(secret);
    expect(await listTags("served")).toEqual(await list("data"));
    await expectWhole("file:./served");
  });

  it("copies one image by its address, under its name there", async () => {
    const { host } = new URL(service.url);
    const args = [`docker://${host}/team/app:1.4`, "file:./addressed", "--json"];
    const { images } = await receiptOf(stowage(["copy", ...args], { cwd: folder }));
    expect(images).toMatchObject([{ repository: "team/app", reference: "1.4", digest: app.digest }]);
    const byDigest = [`docker://${host}/team/app@${app.digest}`, "file:./addressed", "--as", "ours/app:1"];
    expect(await stowage(["copy", ...byDigest], { cwd: folder })).toMatchObject({ code: 0 });
    expect(await list("addressed")).toEqual([
      `ours/app:1 ${app.digest}`,
      `ours/app@${signature.digest}`,
      `team/app:1.4 ${app.digest}`,
      `team/app@${signature.digest}`,
    ]);
  });

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("ends by %s with nothing but blobs, and goes on later", async (signal, code) => {
    const to = `stopped-${signal}`;
    const blob = `/v2/team/app/blobs/${sha256(large)}`;
    const stalling = await startProxy(service.url, ({ path }) => (path === blob ? "stall" : undefined));
    const running = await startCommand(["copy", stalling.url, `file:./${to}`, "--copy", "stream"], { cwd: folder });
    await until(() => stalling.seen.find(({ path }) => path === blob), 30);
    const multiIsThere = async (): Promise<true | undefined> =>
      (await list(to)).includes(`team/multi:latest ${multi.digest}`) ? true : undefined;
    await until(multiIsThere, 30); // the other repository need not wait
    running.kill(signal);
    const { code: found, stdout, stderr } = await running.outcome;
    expect({ code: found, stdout }).toEqual({ code, stdout: "" });
    expect(stderr).toContain(`ended by ${signal}`);
    expect(await list(to)).toEqual([`team/multi:latest ${multi.digest}`]);
    expect((await listFiles(join(folder, to))).filter((path) => path.startsWith(".stowage"))).toEqual([]);
    await expectWhole(`file:./${to}`);

    const proxy = await startProxy(service.url);
    expect(await stowage(["copy", proxy.url, `file:./${to}`], { cwd: folder })).toMatchObject({ code: 0 });
    const fetched = proxy.seen.filter(({ method, path }) => method === "GET" && path.includes("/blobs/"));
    expect(fetched.map(({ path }) => path)).toContain(blob);
    expect(fetched.filter(({ path }) => path.includes("/team/multi/"))).toEqual([]);
    expect(await listTags(to)).toEqual(await list("data"));
    await expectWhole(`file:./${to}`);
  });
});

const servers: Readonly<Record<string, { tool: Tool; start: (folder: string, storage: string) => Promise<Service> }>> =
  {
    "crane's registry": { tool: "crane", start: async (settings) => startCraneRegistry(settings) },
    distribution: { tool: "docker-registry", start: async (settings, storage) => startDistribution(settings, storage) },
  };

for (const [name, { tool, start }] of Object.entries(servers)) {
  describeIfFound(`stowage copy from ${name}`, missingTools([tool]), () => {
    let registry: Service;
    beforeAll(async () => {
      registry = await start(await mkdtemp(join(tmpdir(), "stowage-registry-")), await newFolder());
      await pushLayout(`http://${registry.answer}`, renamed(everything));
    });
    afterAll(async () => registry.stop());

    it("copies everything, and then finds it unchanged", async () => {
      const to = `from-${tool}`;
      const args = ["copy", `http://${registry.answer}`, `file:./${to}`, "--json"];
      const first = await receiptOf(stowage(args, { cwd: folder }));
      expect(first.failures).toEqual([]);
      expect(await list(to)).toEqual(expect.arrayContaining(await list("data")));
      const again = await receiptOf(stowage(args, { cwd: folder }));
      expect(new Set(again.images.map(({ status }) => status))).toEqual(new Set(["unchanged"]));
      await expectWhole(`file:./${to}`);
    });

    it("copies one image under another name", async () => {
      const to = `named-${tool}`;
      const args = ["copy", `docker://${registry.answer}/team/app:1.4`, `file:./${to}`, "--as", "ours/app:1", "--json"];
      const { images } = await receiptOf(stowage([...args, "--no-referrers"], { cwd: folder }));
      expect(images).toEqual([{ repository: "ours/app", reference: "1", digest: app.digest, status: "created" }]);
      expect(await list(to)).toEqual([`ours/app:1 ${app.digest}`]);
    });
  });
}

/** Without the registry in the names of the images. */
function renamed(layout: Layout): Layout {
  const key = "io.containerd.image.name";
  const roots = layout.roots.map((descriptor) => ({
    ...descriptor,
    annotations: { [key]: descriptor.annotations?.[key]?.replace("docker.io/", "") ?? "" },
  }));
  return { ...layout, roots };
}

await describeS3Servers(
  "stowage copy between two prefixes",
  (server) => {
    it("lets the bucket copy the blobs", async () => {
      const env = s3Environment(server);
      await makeTestBucket(createS3Client(env));
      const [from, to] = ["from", "to"].map((name) => `s3://${testBucket}/tests/${crypto.randomUUID()}/${name}`);
      if (from === undefined || to === undefined) throw new Error("expected two stores");
      expect(await copy(from, ["--json"], { env })).toMatchObject({ code: 0 });
      const args = ["copy", from, to, "--copy", "server", "--verify", "--json"];
      const { images, blobs } = await receiptOf(stowage(args, { cwd: folder, env }));
      expect(images).toHaveLength(4);
      expect(blobs.copiedByStore.bytes).toBeGreaterThan(large.length);
      expect(blobs.copied).toEqual(blobs.total);
      await expectWhole(to, env);
    });
  },
  ["versitygw"],
);
