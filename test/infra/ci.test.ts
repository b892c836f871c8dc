import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { type Fault, type SeenRequest, startProxy } from "../cli/faulty-proxy.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { randomBytes } from "../support/bytes.ts";
import { type GithubJob, identityToken, startGithubJob } from "../support/github-job.ts";
import { type Layout, makeLayout, tarOf, withBadBlob } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { type ServingCommand, newFolder, serveStowage } from "../support/run-stowage.ts";
import { type DockerEngine, startDockerEngine } from "../tools/docker-engine.ts";
import { missingTools } from "../tools/find-tool.ts";
import { runTool } from "../tools/run-tool.ts";
import { writeSmallContext } from "../tools/sample-image.ts";
import { at, listAt, missingPrograms, projectFolder, readYaml, recordOf, textsOf } from "./infra-tools.ts";
import { makeToken } from "./make-token.ts";
import { type StepOutcome, fillIn, runAction, runStep } from "./run-action.ts";

const action = "infra/ci/action/action.yml";
const workflow = "infra/ci/github.yml";
const release = "infra/ci/release.yml";
const mebibyte = 1024 * 1024;

describeIfFound(
  "the files in infra/ci",
  missingPrograms("actionlint", "zizmor", "check-jsonschema", "shellcheck"),
  () => {
    const pathOf = (path: string): string => join(projectFolder, path);

    it("pass the linters for GitHub", async () => {
      const files = [workflow, release].map(pathOf);
      await runTool("actionlint", files);
      await runTool("zizmor", ["--offline", "--no-progress", ...files, pathOf(action)]);
      await runTool("shellcheck", [pathOf("infra/ci/action/ship.sh")]);
    });

    it.each([
      ["infra/ci/gitlab.yml", "vendor.gitlab-ci"],
      ["infra/ci/buildkite.yml", "vendor.buildkite"],
      [action, "vendor.github-actions"],
    ])("%s has the form that its platform publishes", async (path, schema) => {
      await runTool("check-jsonschema", ["--builtin-schema", schema, pathOf(path)]);
    });

    it("use the action with inputs that it has", async () => {
      const folder = await newFolder();
      const text = await readFile(pathOf(workflow), "utf8");
      await mkdir(join(folder, ".github/workflows"), { recursive: true });
      await mkdir(join(folder, "action"));
      await writeFile(join(folder, "action/action.yml"), await readFile(pathOf(action)));
      const local = text.replace(/uses: OWNER\/stowage\/infra\/ci\/action@\w+/, "uses: ./action");
      expect(local).not.toBe(text);
      await writeFile(join(folder, ".github/workflows/ship.yml"), local);
      await runTool("git", ["init", "--quiet", folder]);
      await runTool("actionlint", [], { cwd: folder });
    });
  },
);

const missing = [...missingPrograms("infra-python"), ...missingTools(["curl", "jq", "xargs"])];

const services: ServingCommand[] = [];
const jobs: GithubJob[] = [];
afterEach(async () => {
  for (const job of jobs.splice(0)) await job.close();
  for (const service of services.splice(0)) {
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0 });
  }
});

async function startJob(issue: Parameters<typeof startGithubJob>[0]): Promise<GithubJob> {
  const job = await startGithubJob(issue);
  jobs.push(job);
  return job;
}

async function startService(env: Readonly<Record<string, string>> = {}): Promise<ServingCommand> {
  const service = await serveStowage(["--store", "memory:"], env);
  services.push(service);
  return service;
}

async function fileOf(layout: Layout): Promise<string> {
  const path = join(await newFolder(), "app.tar");
  await writeFile(path, await tarOf(layout));
  return path;
}

/** Lets each token in once, as if it lived for a moment. The URLs of parts need none. */
function letInOnce(): (request: SeenRequest) => Fault | undefined {
  const shown = new Set<string | undefined>([undefined]);
  return ({ authorization, path }) => {
    if (/\/parts\/\d+\?key=/.test(path)) return undefined;
    if (shown.has(authorization)) return { status: 401, body: "expired" };
    shown.add(authorization);
    return undefined;
  };
}

/** A runner takes a line that begins like this for a command. */
const command = /^\s*::(\w+)/gm;

function commandsIn({ log }: StepOutcome): string[] {
  return [...log.matchAll(command)].map(([, name = ""]) => name);
}

describeIfFound("infra/ci/action", missing, () => {
  const image = makeLayout({ layers: [randomBytes(mebibyte)], name: "docker.io/team/app:1.4" });

  it("ships a tarball with the job's identity token, and tells its digest", async () => {
    const { secret, tokens } = makeToken(["load"]);
    const service = await startService({ STOWAGE_TOKENS: tokens });
    const job = await startJob(() => secret);
    const outcome = await runAction(action, { url: `${service.url}/`, file: await fileOf(image) }, job);
    expect(outcome).toMatchObject({ code: 0, leftovers: [] });
    const { host } = new URL(service.url);
    expect(outcome.outputs).toMatchObject({
      digest: image.digest,
      reference: `${host}/team/app@${image.digest}`,
    });
    expect(JSON.parse(outcome.outputs["images"] ?? "")).toMatchObject([
      { repository: "team/app", reference: "1.4", digest: image.digest, status: "created" },
    ]);
    expect(outcome.summary).toContain(`| \`team/app:1.4\` | \`${image.digest}\` | created |`);
    expect(outcome.log).not.toContain(secret);
    expect(new Set(outcome.hidden)).toEqual(new Set([secret]));
    expect(new Set(job.audiences)).toEqual(new Set([service.url]));
  });

  it("takes another name, another audience, and a token that is no identity token", async () => {
    const { secret, tokens } = makeToken(["load"]);
    const service = await startService({ STOWAGE_TOKENS: tokens });
    const file = await fileOf(image);
    const job = await startJob(() => secret);
    const named = await runAction(action, { url: service.url, file, name: "other/app:2", audience: "images" }, job);
    expect(named.outputs).toMatchObject({ reference: `${new URL(service.url).host}/other/app@${image.digest}` });
    expect(new Set(job.audiences)).toEqual(new Set(["images"]));
    const given = await runAction(action, { url: service.url, file, token: secret });
    expect(given).toMatchObject({ code: 0, outputs: { digest: image.digest } });
    expect(given.log).not.toContain(secret);
    const evil = await runAction(action, { url: service.url, file, token: secret, name: "a?repair=true&x y" });
    expect(evil.log).toMatch(/^::error title=Stowage::\S+ answered 400 NAME_INVALID: /m);
  });

  it("gets a new token for each request, and sends a large tarball in parts", async () => {
    const service = await startService();
    const proxy = await startProxy(service.url, letInOnce());
    const job = await startJob((count) => identityToken({ count }));
    const large = makeLayout({ layers: [randomBytes(75 * mebibyte, 7)], name: "docker.io/team/large:1" });
    const outcome = await runAction(action, { url: proxy.url, file: await fileOf(large) }, job);
    expect(outcome).toMatchObject({ code: 0, outputs: { digest: large.digest } });
    expect(outcome.log).toMatch(/^Sending \d+ bytes to \S+ in 10 parts$/m);
    expect(proxy.taken("PUT", /\/parts\//)).toHaveLength(10);
    expect(new Set(outcome.hidden).size).toBe(job.audiences.length);
  });

  it("shows what the service says of a token, and the token's claims", async () => {
    const service = await startService({ STOWAGE_TOKENS: makeToken(["load"]).tokens });
    const token = identityToken({ sub: "repo:acme/app:ref:refs/heads/main", repository_owner: "acme", ref: "ü" });
    const job = await startJob(() => token);
    const outcome = await runAction(action, { url: service.url, file: await fileOf(image) }, job);
    expect(outcome.code).toBe(1);
    expect(outcome.log).toContain("  repository_owner: acme\n");
    expect(outcome.log).toContain("  ref: ü\n");
    expect(outcome.log).toMatch(/^::error title=Stowage::http:\S+ answered 401 UNAUTHORIZED: /m);
    expect(outcome.log).not.toContain(token);
    expect(outcome.outputs).toEqual({ digest: "", reference: "", images: "" });
  });

  it("shows what the service says of damaged bytes", async () => {
    const service = await startService();
    const damaged = withBadBlob(image, image.layers[0]);
    const outcome = await runAction(action, { url: service.url, file: await fileOf(damaged), token: "any" });
    expect(outcome.code).toBe(1);
    expect(outcome.log).toMatch(/^::error title=Stowage::http:\S+ answered 400 DIGEST_INVALID: /m);
  });

  it.each<[string, Fault, RegExp, number]>([
    [
      "a service that is busy, four times",
      {
        status: 503,
        body: JSON.stringify({ errors: [{ code: "STORE_UNAVAILABLE", message: "100% busy\n::warning::x" }] }),
      },
      /^::error title=Stowage::http:\S+ answered 503 STORE_UNAVAILABLE: 100%25 busy%0A::warning::x$/m,
      4,
    ],
    [
      "a refusal, once",
      { status: 403, body: "<h1>no</h1>" },
      /^::error title=Stowage::http:\S+ answered 403 <h1>no<\/h1>$/m,
      1,
    ],
    [
      "another server",
      { status: 200, body: "<h1>Hello</h1>" },
      /^::error title=Stowage::http:\S+ answers, but is no Stowage$/m,
      1,
    ],
  ])("asks %s, and shows the answer", async (_, fault, message, tries) => {
    const proxy = await startProxy("http://127.0.0.1:1", () => fault);
    const outcome = await runAction(action, { url: proxy.url, file: await fileOf(image), token: "any" });
    expect(outcome.code).toBe(1);
    expect(outcome.log).toMatch(message);
    expect(commandsIn(outcome)).toEqual(["error"]);
    expect(outcome.log).not.toContain("geheim");
    expect(proxy.seen).toHaveLength(tries);
  });

  it.each([
    ["no job with an identity token", {}, /the job needs "permissions: id-token: write"/],
    ["a job that GitHub gives none", { ACTIONS_ID_TOKEN_REQUEST_TOKEN: "wrong" }, /GitHub answers .*no token for you/],
  ])("says what is wrong in %s", async (_, env, message) => {
    const job = await startJob(() => "never");
    const all = Object.keys(env).length === 0 ? {} : { ...job.env, ...env };
    const outcome = await runAction(action, { url: "http://127.0.0.1:1", file: await fileOf(image) }, { env: all });
    expect(outcome.code).toBe(1);
    expect(outcome.log).toMatch(message);
  });

  it.each([
    [{ url: "", file: "x" }, /Cannot use "" as the input "url": expected the service/],
    [{ url: "stowage.example", file: "x" }, /Cannot use "stowage\.example" as the input "url"/],
    [{ url: "https://ci:geheim@stowage.example", file: "x" }, /The input "url" has a user or a token in it/],
    [{ url: "http://127.0.0.1:1" }, /Expected one of the inputs "image" and "file"/],
    [{ url: "http://127.0.0.1:1", file: "x", image: "y" }, /Expected one of the inputs "image" and "file"/],
    [{ url: "http://127.0.0.1:1", file: "/nowhere/app.tar" }, /There is no file \/nowhere\/app\.tar/],
    [{ url: "http://127.0.0.1:1", file: "." }, /There is no file \./],
  ])("refuses the inputs %j", async (inputs, message) => {
    const outcome = await runAction(action, { token: "any", ...inputs });
    expect(outcome.code).toBe(1);
    expect(outcome.log).toMatch(message);
    expect(commandsIn(outcome)).toEqual(["error"]);
    expect(outcome.log).not.toContain("geheim");
  });

  it("says that nobody listens", async () => {
    const outcome = await runAction(action, { url: "http://127.0.0.1:1", file: await fileOf(image), token: "any" });
    expect(outcome.code).toBe(1);
    expect(outcome.log).toMatch(/^curl: \(7\) /m);
    expect(outcome.log).toMatch(/^::error title=Stowage::Cannot reach http:\/\/127\.0\.0\.1:1: /m);
  });
});

await describeS3Servers(
  "infra/ci, with a bucket",
  (server) => {
    describeIfFound("the Action", missing, () => {
      it("sends a large tarball to the bucket itself", async () => {
        const env = s3Environment(server);
        await makeTestBucket(createS3Client(env));
        const url = `s3://${testBucket}/tests/${crypto.randomUUID()}`;
        const service = await serveStowage(["--store", url], env);
        services.push(service);
        const proxy = await startProxy(service.url);
        const image = makeLayout({ layers: [randomBytes(75 * mebibyte, 7)], name: "docker.io/team/large:1" });
        const outcome = await runAction(action, { url: proxy.url, file: await fileOf(image), token: "any" });
        expect(outcome).toMatchObject({ code: 0, outputs: { digest: image.digest } });
        expect(proxy.seen.map(({ method, path }) => `${method} ${path.split("/", 3).join("/")}`)).toEqual([
          "POST /v1/blobs",
          "POST /v1/uploads",
          "POST /v1/uploads",
        ]);
      });
    });
  },
  ["versitygw"],
);

const needs = [...missingPrograms("infra-python"), ...missingTools(["docker", "dockerd", "curl", "jq"])];

describeIfFound("infra/ci, with an image of Docker", needs, () => {
  const sha = "0123456789abcdef0123456789abcdef01234567";
  const { secret, tokens } = makeToken(["load"]);
  let engine: DockerEngine;
  let context = "";
  beforeAll(async () => {
    engine = await startDockerEngine("containerd");
    context = await newFolder();
    await writeSmallContext(context);
  });
  afterAll(async () => engine.stop());

  it("ships the image that the workflow for GitHub builds", async () => {
    const service = await startService({ STOWAGE_TOKENS: tokens });
    const job = await startJob(() => secret);
    const env = { ...job.env, ...engine.env, GITHUB_SHA: sha };
    const [document] = await readYaml(workflow);
    const steps = listAt(document, "jobs", "ship", "steps");
    expect(at(document, "permissions")).toEqual({ contents: "read", "id-token": "write" });
    const [, build, ship] = steps;
    expect(await runStep(String(build?.["run"]), { env, cwd: context })).toMatchObject({ code: 0 });
    const inputs = fillIn(recordOf(ship?.["with"]), (name) => (name === "github.sha" ? sha : undefined));
    const outcome = await runAction(action, { ...inputs, url: service.url }, { env });
    expect(outcome).toMatchObject({ code: 0, leftovers: [] });
    expect(JSON.parse(outcome.outputs["images"] ?? "")).toMatchObject([{ repository: "acme/app", reference: sha }]);
    expect(steps).toHaveLength(3);
  });

  it("ships several images, and says which one Docker does not have", async () => {
    const service = await startService({ STOWAGE_TOKENS: tokens });
    for (const name of ["team/one:1", "team/two:2"]) await engine.docker("build", "--quiet", "--tag", name, context);
    const options = { env: engine.env };
    const inputs = { url: service.url, token: secret };
    const both = await runAction(action, { ...inputs, image: "team/one:1\n  team/two:2\n" }, options);
    expect(both.summary).toMatch(/`team\/one:1`.*created[^]*`team\/two:2`.*created/);
    const absent = await runAction(action, { ...inputs, image: "team/three:3" }, options);
    expect(absent.code).toBe(1);
    expect(absent.log).toMatch(/^::error title=Stowage::Cannot save team\/three:3: /m);
  });

  it.each([
    ["infra/ci/gitlab.yml", ["ship", "script"], { STOWAGE_TOKEN: secret, IMAGE: "acme/app:gitlab" }, "gitlab"],
    ["infra/ci/buildkite.yml", ["steps", 0, "command"], { BUILDKITE_COMMIT: "buildkite" }, "buildkite"],
  ])("ships by the commands of %s", async (path, place, env, tag) => {
    const service = await startService({ STOWAGE_TOKENS: tokens });
    const [document] = await readYaml(path);
    const script = textsOf(at(document, ...place)).join("\n");
    const unescaped = script.replaceAll("$$", "$"); // Buildkite fills in single ones before the job
    const bin = await newFolder();
    const agent = `#!/bin/sh\n[ "$*" = "oidc request-token --audience https://stowage.example" ] && echo ${secret}\n`;
    await writeFile(join(bin, "buildkite-agent"), agent, { mode: 0o755 });
    const outcome = await runStep(
      `PATH=${bin}:$PATH\n${unescaped.replaceAll(/(?<=upload-file - )https:\/\/stowage\.example/g, service.url)}`,
      { env: { ...engine.env, ...env }, cwd: context },
    );
    expect(outcome.log).toContain(`"reference": "${tag}"`);
    expect(outcome.code).toBe(0);
  });
});
