import { rm, writeFile } from "node:fs/promises";
import { renameSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type TokenSource, tokenSourceOf } from "../../src/cli/token-source.ts";
import { quickClock, startFakeRegistry } from "../remote/fake-registry.ts";
import { randomBytes } from "../support/bytes.ts";
import { type GithubJob, identityToken, startGithubJob } from "../support/github-job.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { type ServingCommand, newFolder, serveStowage, stowage } from "../support/run-stowage.ts";
import { type Fault, type SeenRequest, startProxy } from "./faulty-proxy.ts";

const jobs: GithubJob[] = [];
afterEach(async () => {
  for (const job of jobs.splice(0)) await job.close();
});

async function startJob(issue: Parameters<typeof startGithubJob>[0]): Promise<GithubJob> {
  const job = await startGithubJob(issue);
  jobs.push(job);
  return job;
}

/** A token that lives for some seconds. */
function tokenFor(seconds: number, count: number): string {
  return identityToken({ iat: 1_000_000, exp: 1_000_000 + seconds, count });
}

const signal = AbortSignal.any([]);

describe("tokenSourceOf", () => {
  it("has none if the environment names none, and always the same one of STOWAGE_TOKEN", async () => {
    expect(tokenSourceOf({ env: { STOWAGE_TOKEN: "", STOWAGE_TOKEN_FILE: "" }, signal })).toBeUndefined();
    const source = tokenSourceOf({ env: { STOWAGE_TOKEN: "own" }, signal });
    expect([await source?.(), await source?.()]).toEqual(["own", "own"]);
  });

  it("reads STOWAGE_TOKEN_FILE again each time", async () => {
    const file = join(await newFolder(), "token");
    const source = tokenSourceOf({ env: { STOWAGE_TOKEN_FILE: file }, signal });
    await writeFile(file, "first\n");
    expect(await source?.()).toBe("first");
    await writeFile(file, "second");
    expect(await source?.()).toBe("second");
    await writeFile(file, "two secrets\n");
    await expect(source?.()).rejects.toMatchObject({
      code: "INPUT_INVALID",
      message: `the token in ${file} has characters that no token has, such as spaces or line ends`,
    });
    await writeFile(file, "\n");
    await expect(source?.()).rejects.toThrow(`the token in ${file} is empty`);
    await rm(file);
    await expect(source?.()).rejects.toMatchObject({
      code: "INPUT_INVALID",
      message: expect.stringMatching(/^Cannot read STOWAGE_TOKEN_FILE: ENOENT/) as unknown,
    });
  });

  it.each([
    [{ STOWAGE_TOKEN: "secret", STOWAGE_TOKEN_FILE: "x" }, "found STOWAGE_TOKEN and STOWAGE_TOKEN_FILE, expected one"],
    [{ STOWAGE_TOKEN: "secret", STOWAGE_TOKEN_AUDIENCE: "x" }, "found STOWAGE_TOKEN and STOWAGE_TOKEN_AUDIENCE"],
    [{ STOWAGE_TOKEN: "secret\n" }, "STOWAGE_TOKEN has characters that no token has"],
    [{ STOWAGE_TOKEN_AUDIENCE: "x" }, "ACTIONS_ID_TOKEN_REQUEST_URL is not set; only a GitHub job"],
    [
      { STOWAGE_TOKEN_AUDIENCE: "x", ACTIONS_ID_TOKEN_REQUEST_URL: "http://github.example/?a=secret" },
      "ACTIONS_ID_TOKEN_REQUEST_URL is no https URL; only a GitHub job",
    ],
  ])("refuses %j", (env, message) => {
    const open = (): TokenSource | undefined => tokenSourceOf({ env, signal });
    expect(open).toThrow(expect.objectContaining({ code: "INPUT_INVALID" }));
    expect(open).toThrow(message);
    expect(open).not.toThrow("secret");
  });
});

describe("tokenSourceOf in a GitHub job", () => {
  /** A source whose clock the test moves on. */
  async function openJob(issue: Parameters<typeof startGithubJob>[0]) {
    const job = await startJob(issue);
    const { clock, waits } = quickClock();
    let seconds = 0;
    const moving = { ...clock, now: () => clock.now() + seconds * 1000 };
    const env = { ...job.env, STOWAGE_TOKEN_AUDIENCE: "https://stowage.example/a?b&c" };
    const source = tokenSourceOf({ env, signal, clock: moving });
    return { ...job, waits, source, after: (more: number) => void (seconds += more) };
  }

  it("asks for a token for the audience, and again before it ends", async () => {
    const { source, audiences, after } = await openJob((count) => tokenFor(300, count));
    const found: (string | undefined)[] = [];
    for (const seconds of [0, 1, 238, 1, 239, 1]) {
      after(seconds);
      found.push(await source?.());
    }
    const [first, second, third] = [1, 2, 3].map((count) => tokenFor(300, count));
    expect(found).toEqual([first, first, first, second, second, third]);
    expect(audiences).toEqual(Array.from({ length: 3 }, () => "https://stowage.example/a?b&c"));
  });

  it.each([
    ["lives for a minute", (count: number) => tokenFor(60, count)],
    ["does not say how long it lives", (count: number) => identityToken({ count })],
    ["is none of JSON", (count: number) => `opaque.${count}`],
  ])("asks each time if the token %s", async (_, issue) => {
    const { source } = await openJob(issue);
    expect([await source?.(), await source?.()]).toEqual([issue(1), issue(2)]);
  });

  it("asks again if GitHub fails for a moment", async () => {
    const { source, waits } = await openJob((count) => (count < 3 ? 503 : "good"));
    expect(await source?.()).toBe("good");
    expect(waits).toHaveLength(2);
  });

  it.each([
    [403, "UNAUTHORIZED", /^Cannot get a token from http:\S+\/token: it answered 403 .*no token for you/],
    [500, "STORE_UNAVAILABLE", /it answered 500 /],
  ])("says what GitHub answers: %i", async (status, code, message) => {
    const { source } = await openJob(() => status);
    const error = await source?.().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) as unknown });
    expect(String(error)).not.toContain("request-token");
  });
});

describe("a command that shows a token of its environment", () => {
  const mebibyte = 1024 * 1024;
  /** More than a service wants in one request: 10 parts. */
  const layout = makeLayout({ layers: [randomBytes(75 * mebibyte, 7)], name: "docker.io/team/large:1" });
  let folder = "";
  let service: ServingCommand;
  beforeAll(async () => {
    folder = await newFolder();
    await writeFile(join(folder, "large.tar"), await tarOf(layout));
    service = await serveStowage(["--store", "memory:"]);
  });
  afterAll(async () => {
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0 });
  });

  const refusal: Fault = {
    status: 401,
    body: JSON.stringify({ errors: [{ code: "UNAUTHORIZED", message: "the token has expired" }] }),
    headers: { "WWW-Authenticate": 'Basic realm="Stowage"' },
  };

  /** Lets each token in once. Then it has expired. */
  function letInOnce(): (request: SeenRequest) => Fault | undefined {
    const shown = new Set<string | undefined>([undefined]);
    return ({ authorization }) => {
      if (shown.has(authorization)) return refusal;
      shown.add(authorization);
      return undefined;
    };
  }

  it("renews it in the middle of a load in parts", async () => {
    const job = await startJob((count) => tokenFor(1, count));
    const proxy = await startProxy(service.url, letInOnce());
    const env = { ...job.env, STOWAGE_TOKEN_AUDIENCE: proxy.url };
    const { code, stdout, stderr } = await stowage(["load", "large.tar", "--to", proxy.url], { cwd: folder, env });
    expect(stderr).not.toContain("expired");
    expect(stdout).toMatch(/^team\/large:1 {2}created\n/);
    expect(code).toBe(0);
    expect(proxy.taken("PUT", /\/parts\//)).toHaveLength(10);
    expect(new Set(job.audiences)).toEqual(new Set([proxy.url]));
  });

  it("has one token as long as it lives", async () => {
    const job = await startJob((count) => tokenFor(3600, count));
    const proxy = await startProxy(service.url);
    const env = { ...job.env, STOWAGE_TOKEN_AUDIENCE: proxy.url };
    expect(await stowage(["load", "large.tar", "--to", proxy.url], { cwd: folder, env })).toMatchObject({ code: 0 });
    expect(new Set(proxy.seen.map(({ authorization }) => authorization))).toEqual(
      new Set([`Bearer ${tokenFor(3600, 1)}`]),
    );
    expect(job.audiences).toHaveLength(1);
  });

  it("reads the file again during a load in parts", async () => {
    const file = join(folder, "token");
    await writeFile(file, "first\n");
    await writeFile(`${file}.new`, "second\n");
    let parts = 0;
    const proxy = await startProxy(service.url, ({ method }) => {
      if (method === "PUT" && ++parts === 1) renameSync(`${file}.new`, file); // at once, as Kubernetes does it
      return undefined;
    });
    const other = makeLayout({ layers: [randomBytes(75 * mebibyte, 9)], name: "docker.io/team/other:1" });
    await writeFile(join(folder, "other.tar"), await tarOf(other));
    const env = { STOWAGE_TOKEN_FILE: file };
    expect(await stowage(["load", "other.tar", "--to", proxy.url], { cwd: folder, env })).toMatchObject({ code: 0 });
    expect(proxy.seen[0]?.authorization).toBe("Bearer first");
    expect(proxy.seen.at(-1)?.authorization).toBe("Bearer second");
  });

  it("renews it for pulls, when the service says that it has expired", async () => {
    const job = await startJob((count) => tokenFor(1, count));
    const proxy = await startProxy(service.url, letInOnce());
    const env = { ...job.env, STOWAGE_TOKEN_AUDIENCE: proxy.url };
    const listed = await stowage(["ls", "team/large:1", "--to", proxy.url, "--json"], { cwd: folder, env });
    expect(JSON.parse(listed.stdout)).toMatchObject({ images: [{ digest: layout.digest }] });
    expect(job.audiences.length).toBeGreaterThan(1);
  });

  it("asks GitHub for none if the service wants none, and shows another registry none", async () => {
    const job = await startJob((count) => tokenFor(1, count));
    const env = { ...job.env, STOWAGE_TOKEN_AUDIENCE: "x" };
    expect(await stowage(["ls", "--to", service.url], { cwd: folder, env })).toMatchObject({ code: 0 });
    const registry = await startFakeRegistry((_, response) =>
      response.writeHead(401, { "WWW-Authenticate": 'Basic realm="Registry"' }).end(),
    );
    expect(await stowage(["ls", "--to", registry.url], { cwd: folder, env })).toMatchObject({ code: 1 });
    await registry.close();
    expect(registry.shown).toEqual([undefined]);
    expect(job.audiences).toEqual([]);
  });

  it("exits with 2 outside a GitHub job", async () => {
    const env = { STOWAGE_TOKEN_AUDIENCE: "x" };
    const { code, stderr } = await stowage(["load", "-", "--to", service.url], { env, input: "" });
    expect(stderr).toContain("Cannot use STOWAGE_TOKEN_AUDIENCE: ACTIONS_ID_TOKEN_REQUEST_URL is not set");
    expect(code).toBe(2);
  });
});
