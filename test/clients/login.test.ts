/** Tokens as users show them, with the tools that they have: who has one that is good gets in, nobody else does. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { Token } from "../../src/auth/access.ts";
import { sha256 } from "../support/bytes.ts";
import { type Issuer, startIssuer } from "../support/issuer.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder, serveStowage } from "../support/run-stowage.ts";
import { containersEnvironment } from "../tools/containers-storage.ts";
import { type Tool, missingTools } from "../tools/find-tool.ts";
import { runShell, runTool } from "../tools/run-tool.ts";
import { type Workshop, openWorkshop } from "../tools/workshop.ts";
import { type Attempt, loginClients, onNoPassword, user } from "./login-clients.ts";

/** Logins with a password from standard input, and pulls, in shell. */
interface PipedClient {
  readonly name: string;
  readonly needs: readonly Tool[];
  /** Of its tool, if it needs one. */
  readonly env?: (workshop: Workshop) => Promise<Readonly<Record<string, string>>>;
  readonly login: string;
  readonly pull: string;
}

const pipedClients: readonly PipedClient[] = [
  {
    name: "docker",
    needs: ["docker", "dockerd"],
    env: async (workshop) => (await workshop.puller("containerd")).env,
    login: "docker login -u oidc --password-stdin $REGISTRY",
    pull: "docker pull --quiet $IMAGE; docker image rm --force $IMAGE",
  },
  {
    name: "podman",
    needs: ["podman"],
    env: async (workshop) => containersEnvironment(await workshop.newFolder()),
    login: "podman login --tls-verify=false -u oidc --password-stdin $REGISTRY",
    pull: "podman pull --quiet --tls-verify=false $IMAGE",
  },
  {
    name: "skopeo",
    needs: ["skopeo"],
    login: "skopeo login --tls-verify=false -u oidc --password-stdin $REGISTRY",
    pull: "skopeo copy --quiet --src-tls-verify=false docker://$IMAGE dir:$FOLDER/image",
  },
  {
    name: "crane",
    needs: ["crane"],
    login: "crane auth login -u oidc --password-stdin $REGISTRY",
    pull: "crane pull $IMAGE $FOLDER/image.tar",
  },
  {
    name: "oras",
    needs: ["oras"],
    login: "oras login --plain-http -u oidc --password-stdin $REGISTRY",
    pull: "oras copy --from-plain-http --to-oci-layout $IMAGE $FOLDER/layout:1.4",
  },
];

function tokenOf(name: string, rights: Pick<Token, "actions" | "repositories">): Token {
  return { name, sha256: sha256(Buffer.from(secretOf(name))).slice("sha256:".length), ...rights };
}

function secretOf(name: string): string {
  return `secret-of-${name}`;
}

const tokens: readonly Token[] = [
  tokenOf("ci", { actions: ["load"], repositories: ["**"] }),
  tokenOf("team", { actions: ["pull", "load"], repositories: ["team/**"] }),
];

describeIfFound("tokens shown by real clients", missingTools(["umoci", "bash", "curl", "tar"]), () => {
  let workshop: Workshop;
  let closed: string;
  let open: string;
  let issuer: Issuer;

  beforeAll(async () => {
    workshop = await openWorkshop();
    return workshop.close;
  });

  beforeAll(async () => {
    const store = ["--store", `file:${await newFolder()}`];
    const STOWAGE_TOKENS = JSON.stringify(tokens);
    issuer = await startIssuer();
    await issuer.rotate("RS256"); // as most issuers
    const rule = {
      issuer: issuer.url,
      audience: "stowage",
      claims: { repository_owner: "acme" },
      actions: ["pull", "load"],
      repositories: ["${repository}"],
    };
    const services = await Promise.all([
      serveStowage(store, { STOWAGE_TOKENS, STOWAGE_OIDC: JSON.stringify([rule]) }),
      serveStowage(store, { STOWAGE_TOKENS, STOWAGE_ANONYMOUS_PULL: "true" }),
    ]);
    [closed = "", open = ""] = services.map(({ url }) => new URL(url).host);
    const layout = await workshop.layout();
    for (const [name, option] of [
      ["team/app", `-u ${user}:${secretOf("ci")}`],
      ["other/app", `-H 'Authorization: Bearer ${secretOf("ci")}'`],
      ["acme/app", `-u oidc:${await issuer.sign()}`],
    ]) {
      await runShell(
        `tar -C ${layout} -c . | curl -sS --fail-with-body ${option} -T - http://${closed}/v1/load/${name}:1.4`,
      );
    }
    return async () => {
      await issuer.close();
      for (const service of services) service.kill("SIGTERM");
      for (const service of services) expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
    };
  });

  for (const client of loginClients) {
    describeIfFound(client.name, missingTools(client.needs), () => {
      const pull = async (attempt: Partial<Attempt>): Promise<unknown> =>
        client.pull({ registry: closed, repository: "team/app", password: undefined, ...attempt }, workshop);

      it("gets in with a token that is good for the repository", async () => {
        await pull({ password: secretOf("team") });
      });

      it("gets into no other repository", async () => {
        await expect(pull({ password: secretOf("team"), repository: "other/app" })).rejects.toThrow(
          client.onOtherRepository,
        );
      });

      it("is told that a password is wrong", async () => {
        await expect(pull({ password: "wrong" })).rejects.toThrow(client.onWrongPassword);
      });

      it("does not get in without a token", async () => {
        await expect(pull({})).rejects.toThrow(onNoPassword);
      });

      it("pulls without a token where that is allowed", async () => {
        await pull({ registry: open, repository: "other/app" });
      });
    });
  }

  for (const { name, needs, env, login, pull } of pipedClients) {
    describeIfFound(`${name} login -u oidc --password-stdin`, missingTools(needs), () => {
      it("gets in with a token of an issuer, into its own repository", async () => {
        const folder = await workshop.newFolder();
        const own = { DOCKER_CONFIG: folder, REGISTRY_AUTH_FILE: join(folder, "auth.json") };
        const around = {
          ...own,
          ...(await env?.(workshop)),
          FOLDER: folder,
          REGISTRY: closed,
          TOKEN: await issuer.sign(),
        };
        await writeFile(own.REGISTRY_AUTH_FILE, "{}"); // without it, podman goes no further
        await runShell(`printf %s "$TOKEN" | ${login}`, { env: around });
        await runShell(pull, { env: { ...around, IMAGE: `${closed}/acme/app:1.4` } });
        await expect(runShell(pull, { env: { ...around, IMAGE: `${closed}/team/app:1.4` } })).rejects.toThrow(
          /Cannot pull from .*team.*: the token .*#repo:acme\/app:ref:refs\/heads\/main.* does not allow it/,
        );
      });
    });
  }

  describe("a tarball that is refused", () => {
    it.each(["", "cat big |"])("is not sent to its end, and curl says why: %s curl -T", async (pipe) => {
      const cwd = await workshop.newFolder();
      await runTool("truncate", ["--size", "50M", "big"], { cwd });
      const options = `-sS -w '%{http_code} %{size_upload}' -u ${user}:${secretOf("team")}`;
      const source = pipe === "" ? "big" : "-";
      // The pipe ends early, and `cat` with it.
      const script = `set +o pipefail; ${pipe} curl ${options} -T ${source} http://${closed}/v1/load/other/app`;
      const [body = "", written = ""] = (await runShell(script, { cwd })).split("\n");
      const [status, sentBytes] = written.split(" ").map(Number);
      expect(JSON.parse(body)).toMatchObject({ errors: [{ code: "DENIED" }] });
      expect(status).toBe(403);
      expect(sentBytes).toBeLessThan(25_000_000);
    });
  });
});
