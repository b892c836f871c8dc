/** Real clients that push: what arrives, what they send a second time, and what they say if they may not push. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Token } from "../../src/auth/access.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { type FaultyProxy, startProxy } from "../cli/faulty-proxy.ts";
import { runtimes, startRuntime } from "../runtimes/start-runtime.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { findS3Server } from "../servers/s3-servers.ts";
import { sha256 } from "../support/bytes.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder, serveStowage } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import {
  type PushLines,
  type PushTarget,
  digestAt,
  pullBack,
  pushClients,
  pushLines,
  runPush,
} from "../tools/push-clients.ts";
import { runShell } from "../tools/run-tool.ts";
import { type Workshop, openWorkshop } from "../tools/workshop.ts";

const secretOf = (name: string): string => `secret-of-${name}`;

const tokenOf = (name: string, actions: Token["actions"]): Token => {
  return { name, sha256: sha256(Buffer.from(secretOf(name))).slice("sha256:".length), actions, repositories: ["**"] };
};

const tokens = JSON.stringify([
  tokenOf("loader", ["load"]),
  tokenOf("both", ["pull", "load"]),
  tokenOf("reader", ["pull"]),
]);

const timeout = 120_000;

let workshop: Workshop;
const stops: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  workshop = await openWorkshop();
  return workshop.close;
});

afterAll(async () => {
  for (const stop of stops) await stop();
});

/** The address of a new Stowage. */
async function serve(store: string, env: Readonly<Record<string, string>> = {}): Promise<string> {
  const service = await serveStowage(["--store", store], env);
  stops.push(async () => {
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
  });
  return service.url;
}

const at = (url: string, target: Partial<PushTarget> = {}): PushTarget => ({
  host: new URL(url).host,
  name: "team/app",
  tag: "1.4.0",
  ...target,
});

for (const client of pushClients) {
  describeIfFound(client.name, missingTools(["bash", ...client.needs]), () => {
    const { push, pushIndex, waitsFor401 = false, isSilent = false, needsPull = false, puller } = client;
    const password = secretOf(needsPull ? "both" : "loader");
    let proxy: FaultyProxy;
    let closed: string;
    let open: string;
    let prepared: Pick<PushLines, "cwd" | "env">;

    beforeAll(async () => {
      prepared = { env: await client.prepare(workshop), cwd: await workshop.newFolder() };
      // The stores are empty, so that the client has to send everything.
      proxy = await startProxy(await serve(`file:${await newFolder()}`, { STOWAGE_IMMUTABLE_TAGS: "3.*" }));
      closed = await serve(`file:${await newFolder()}`, { STOWAGE_TOKENS: tokens });
      open = await serve(`file:${await newFolder()}`, { STOWAGE_TOKENS: tokens, STOWAGE_ANONYMOUS_PULL: "true" });
    });

    const run = async (target: PushTarget, script = push): Promise<string> =>
      runPush(pushLines({ ...client, push: script }, target, prepared));

    it("pushes an image that another client pulls, and sends no byte of its blobs again", { timeout }, async () => {
      const target = at(proxy.url);
      const digest = await run(target);
      expect(digest).toBe(await digestAt(target));
      expect(bodiesOfBlobs(proxy, 0)).not.toEqual([]);
      expect(await pullBack(target, puller, await workshop.newFolder())).toContain(digest);

      const before = proxy.seen.length;
      const other = { ...target, name: "other/app" };
      expect(await run(target)).toBe(digest);
      expect(await run(other)).toBe(digest);
      expect(await digestAt(other)).toBe(digest);
      expect(bodiesOfBlobs(proxy, before)).toEqual([]);
    });

    if (pushIndex !== undefined) {
      it("pushes several platforms", { timeout }, async () => {
        const target = at(proxy.url, { tag: "2.0.0" });
        const digest = await run(target, pushIndex);
        expect(digest).toBe(await digestAt(target));
        expect(await pullBack(target, puller, await workshop.newFolder())).toContain(digest);
      });

      it("is told that a tag cannot be moved", { timeout }, async () => {
        const target = at(proxy.url, { tag: "3.0.0" });
        const digest = await run(target);
        if (isSilent) expect(await run(target, pushIndex)).toBe("");
        else
          await expect(run(target, pushIndex)).rejects.toThrow(/TAG_IMMUTABLE|never moves|409 Conflict|status:? 409/);
        expect(await digestAt(target)).toBe(digest);
      });
    }

    it("pushes with a token", { timeout }, async () => {
      const target = at(closed, { password });
      expect(await run(target)).toBe(await digestAt(target));
    });

    const outcome = waitsFor401 ? "cannot push" : "pushes";
    it(`${outcome} with a token where all may pull`, { timeout }, async () => {
      const target = at(open, { password });
      if (waitsFor401) await expect(run(target)).rejects.toThrow("Cannot load without a token");
      else expect(await run(target)).toBe(await digestAt(target));
    });

    it.each([
      ["with a token that may not", "reader", /denied|403 forbidden|status:? 403/i],
      ["without a token", undefined, /unauthorized|status:? 401|basic auth|basic credential not found/i],
    ])("does not push %s", { timeout }, async (_, name, reason) => {
      const target = at(closed, { name: "denied/app", password: name && secretOf(name) });
      await expect(run(target)).rejects.toThrow(reason);
      expect(await digestAt({ ...target, password })).toBe(undefined);
    });
  });
}

/** The requests since then that brought bytes of blobs. */
function bodiesOfBlobs({ seen }: FaultyProxy, since: number): string[] {
  const brought = seen.slice(since).filter(({ path, bytes }) => path.includes("/blobs/uploads/") && bytes > 0);
  return brought.map(({ method, path, bytes }) => `${method} ${path}: ${bytes} bytes`);
}

describeIfFound("what is there already", missingTools(["bash", "crane", "oras", "regctl"]), () => {
  let target: PushTarget;
  let digest: string;
  let env: Readonly<Record<string, string>>;

  beforeAll(async () => {
    const registry = await workshop.smallRegistry();
    target = at(await serve(`file:${await newFolder()}`));
    env = { IMAGE: `${target.host}/${target.name}`, HOST: target.host };
    await runShell(`crane copy ${registry}/small:list $IMAGE:1.4.0`, { env });
    digest = (await digestAt(target)) ?? "";
  });

  it("gets one more tag by crane tag", async () => {
    await runShell("crane tag $IMAGE:1.4.0 stable", { env });
    expect(await digestAt({ ...target, tag: "stable" })).toBe(digest);
  });

  it("gets one more tag by oras tag, and by digest", async () => {
    await runShell(`oras tag --plain-http $IMAGE@${digest} first second >&2`, { env });
    expect([await digestAt({ ...target, tag: "first" }), await digestAt({ ...target, tag: "second" })]).toEqual([
      digest,
      digest,
    ]);
  });

  it("is copied into another repository by regctl", async () => {
    await runShell(`regctl --host reg=$HOST,tls=disabled image copy $IMAGE:1.4.0 $HOST/release/app:1`, { env });
    expect(await digestAt({ ...target, name: "release/app", tag: "1" })).toBe(digest);
  });

  it("gets an artifact by oras attach, which oras and regctl find", async () => {
    const script = `
      echo '{}' >sbom; oras attach --plain-http --artifact-type application/spdx+json \\
        --format go-template='{{.digest}}' $IMAGE:1.4.0 sbom:application/spdx+json
    `;
    const attached = (await runShell(script, { env, cwd: await workshop.newFolder() })).trim();
    expect(attached).toMatch(/^sha256:/);
    const found = await runShell("regctl --host reg=$HOST,tls=disabled artifact list $IMAGE:1.4.0", { env });
    expect(found).toContain(attached);
    expect(await runShell("oras discover --plain-http --format json $IMAGE:1.4.0", { env })).toContain(attached);
  });
});

/** Where all clients push into in turn. */
interface Place {
  readonly name: string;
  readonly missing: readonly string[];
  readonly serve: () => Promise<string>;
}

const server = await findS3Server("versitygw");

const places: readonly Place[] = [
  {
    name: "a bucket",
    missing: typeof server === "string" ? [server] : [],
    serve: async () => {
      if (typeof server === "string") throw new Error(server);
      await makeTestBucket(createS3Client(s3Environment(server)));
      return serve(`s3://${testBucket}/push/${crypto.randomUUID()}`, s3Environment(server));
    },
  },
  ...runtimes
    .filter(({ name }) => ["deno", "bun", "workers, R2"].includes(name))
    .map((runtime) => ({
      name: runtime.name,
      missing: missingTools([runtime.tool]),
      serve: async () => {
        const store = runtime.store === "R2" ? "r2:IMAGES/images" : `file:${await newFolder()}`;
        const { answer, stop } = await startRuntime(runtime, { STOWAGE_STORE: store, STOWAGE_ALLOW_ANYONE: "true" });
        stops.push(stop);
        return answer;
      },
    })),
];

/** As a stream, whole and in chunks. They have no layer in common. */
const everywhere = ["crane copy", "oras push", "regctl image copy, in chunks"];

describe.each(places)("a push into $name", ({ missing, serve: start }) => {
  describeIfFound("that is there", missing, () => {
    let url: string;
    beforeAll(async () => {
      url = await start();
    });

    for (const client of pushClients.filter(({ name }) => everywhere.includes(name))) {
      describeIfFound(`by ${client.name}`, missingTools(["bash", ...client.needs]), () => {
        const lines = [client.push, ...(client.pushIndex === undefined ? [] : [client.pushIndex])];
        it.each(lines)("arrives and can be pulled: %$", { timeout }, async (push) => {
          const prepared = { env: await client.prepare(workshop), cwd: await workshop.newFolder() };
          const target = at(url, { name: `${client.needs[0]}/app` });
          const digest = await runPush(pushLines({ push }, target, prepared));
          expect(digest).toBe(await digestAt(target));
          expect(await pullBack(target, client.puller, await workshop.newFolder())).toContain(digest);
        });
      });
    }
  });
});
