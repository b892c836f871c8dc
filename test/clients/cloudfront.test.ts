/**
 * Clients log in to the service on AWS. A function URL of Lambda renames `WWW-Authenticate`, so that most cannot; the function
 * of CloudFront in infra/aws/template.yaml helps them.
 */
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { Token } from "../../src/auth/access.ts";
import { type Edge, startEdge } from "../runtimes/cloudfront-edge.ts";
import { runtimes, startRuntime } from "../runtimes/start-runtime.ts";
import { sha256 } from "../support/bytes.ts";
import { type Layout, makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder, stowage } from "../support/run-stowage.ts";
import { packEntries } from "../support/docker-archive.ts";
import { missingTools } from "../tools/find-tool.ts";
import { type Workshop, openWorkshop } from "../tools/workshop.ts";
import { loginClients, onNoPassword } from "./login-clients.ts";

const secret = "secret-of-the-team";
const token: Token = {
  name: "team",
  sha256: sha256(Buffer.from(secret)).slice("sha256:".length),
  actions: ["pull", "load"],
  repositories: ["team/**"],
};

/** They ask without a token first, and send theirs only to a service that asks for it. */
const waitsForChallenge = /^(?:docker|podman|skopeo|ctr|oras|regctl) /;
/** What they say of a service that refuses without asking. */
const withoutChallenge = /unauthorized|401|authentication required|invalid username\/password|empty challenge header/i;

describeIfFound("the service on Lambda behind CloudFront", missingTools(["node24"]), () => {
  let workshop: Workshop;
  let functionUrl: string;
  let edge: Edge;
  let openEdge: Edge;
  let layout: Layout;

  beforeAll(async () => {
    workshop = await openWorkshop();
    return workshop.close;
  });

  beforeAll(async () => {
    const lambda = runtimes.find(({ name }) => name === "lambda");
    if (lambda === undefined) throw new Error("expected the runtime lambda");
    const settings = { STOWAGE_STORE: `file:${await newFolder()}`, STOWAGE_TOKENS: JSON.stringify([token]) };
    const closed = await startRuntime(lambda, settings);
    const open = await startRuntime(lambda, { ...settings, STOWAGE_ANONYMOUS_PULL: "true" });
    functionUrl = closed.answer;
    edge = await startEdge(closed.answer, { anonymousPull: false });
    openEdge = await startEdge(open.answer, { anonymousPull: true });
    const layer = await packEntries([{ name: "version", bytes: Buffer.from("1.4") }]);
    layout = makeLayout({ layers: [layer], name: "docker.io/team/app:1.4" });
    return async () => {
      edge.stop();
      openEdge.stop();
      for (const service of [closed, open]) await service.stop();
    };
  });

  async function load(url: string): Promise<Response> {
    const headers = { Authorization: `Bearer ${secret}` };
    return fetch(`${url}/v1/load`, { method: "PUT", headers, body: await tarOf(layout) });
  }

  it("names CloudFront's host in the pull commands of a load, and in the URLs of an upload", async () => {
    const { host } = new URL(edge.url);
    expect(await (await load(edge.url)).json()).toMatchObject({
      images: [{ pull: `docker pull ${host}/team/app:1.4` }],
    });
    const headers = { Authorization: `Bearer ${secret}` };
    const body = JSON.stringify({ size: 5 });
    const upload = await fetch(`${edge.url}/v1/uploads`, { method: "POST", headers, body });
    expect(upload.headers.get("Location")).toMatch(new RegExp(`^${edge.url}/v1/uploads/`));
  });

  it("takes an upload in parts, and sends an image back", async () => {
    const folder = await newFolder();
    const tarball = join(folder, "app.tar");
    const env = { STOWAGE_TOKEN: secret };
    expect((await load(edge.url)).ok).toBe(true);
    const exported = await stowage(["export", "team/app:1.4", "--from", edge.url, "-o", tarball], { env });
    expect(exported.code, exported.stderr).toBe(0);
    const loaded = await stowage(["load", tarball, "team/copy:1.4", "--to", edge.url], { env });
    expect(loaded.code, loaded.stderr).toBe(0);
    expect(loaded.stdout + loaded.stderr).toContain(`${new URL(edge.url).host}/team/copy:1.4`);
  });

  for (const client of loginClients) {
    describeIfFound(client.name, missingTools(client.needs), () => {
      const attempt = (url: string, password?: string): Promise<unknown> =>
        client.pull({ registry: new URL(url).host, repository: "team/app", password }, workshop);
      beforeAll(async () => {
        expect((await load(functionUrl)).ok).toBe(true);
      });

      it("gets in with its token", async () => {
        await attempt(edge.url, secret);
      });

      it("does not get in with another, nor without", async () => {
        await expect(attempt(edge.url, "wrong")).rejects.toThrow(client.onWrongPassword);
        await expect(attempt(edge.url)).rejects.toThrow(onNoPassword);
      });

      it("pulls without a token where that is allowed", async () => {
        await attempt(openEdge.url);
      });

      if (waitsForChallenge.test(client.name)) {
        it("does not get in by the function URL, with its token", async () => {
          await expect(attempt(functionUrl, secret)).rejects.toThrow(withoutChallenge);
        });
      } else {
        it("gets in by the function URL too", async () => {
          await attempt(functionUrl, secret);
        });
      }
    });
  }

  describe("a function URL", () => {
    it("renames the challenge", async () => {
      const { status, headers } = await fetch(`${functionUrl}/v2/`);
      expect(status).toBe(401);
      expect(headers.get("WWW-Authenticate")).toBeNull();
      expect(headers.get("x-amzn-Remapped-www-authenticate")).toBe('Basic realm="Stowage"');
    });
  });
});
