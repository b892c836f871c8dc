/** Tokens as users show them, with the tools that they have: who has one that is good gets in, nobody else does. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Token } from "../../src/auth/access.ts";
import { sha256 } from "../support/bytes.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder, serveStowage } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { runShell, runTool } from "../tools/run-tool.ts";
import { type Workshop, openWorkshop } from "../tools/workshop.ts";
import { type Attempt, loginClients, onNoPassword, user } from "./login-clients.ts";

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

  beforeAll(async () => {
    workshop = await openWorkshop();
    return workshop.close;
  });

  beforeAll(async () => {
    const store = ["--store", `file:${await newFolder()}`];
    const STOWAGE_TOKENS = JSON.stringify(tokens);
    const services = await Promise.all([
      serveStowage(store, { STOWAGE_TOKENS }),
      serveStowage(store, { STOWAGE_TOKENS, STOWAGE_ANONYMOUS_PULL: "true" }),
    ]);
    [closed = "", open = ""] = services.map(({ url }) => new URL(url).host);
    const layout = await workshop.layout();
    for (const [name, option] of [
      ["team/app", `-u ${user}:${secretOf("ci")}`],
      ["other/app", `-H 'Authorization: Bearer ${secretOf("ci")}'`],
    ]) {
      await runShell(
        `tar -C ${layout} -c . | curl -sS --fail-with-body ${option} -T - http://${closed}/v1/load/${name}:1.4`,
      );
    }
    return async () => {
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
