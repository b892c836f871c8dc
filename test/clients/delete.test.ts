/** Deleting as users do, with the tools that they have. */
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { type ServingCommand, newFolder, serveStowage } from "../support/run-stowage.ts";
import { type Tool, missingTools } from "../tools/find-tool.ts";
import { runTool } from "../tools/run-tool.ts";

const image = makeLayout({ label: "delete" });

interface Client {
  readonly name: string;
  readonly tool: Tool;
  readonly deletes: "tag" | "manifest";
  /** `name` is `127.0.0.1:PORT/REPOSITORY`; deletes `1`, or the digest. */
  run(name: string): Promise<unknown>;
}

const byDigest = (name: string): string => `${name}@${image.digest}`;

const clients: readonly Client[] = [
  {
    name: "crane delete NAME:TAG",
    tool: "crane",
    deletes: "tag",
    run: async (name) => runTool("crane", ["delete", `${name}:1`]),
  },
  {
    name: "crane delete NAME@DIGEST",
    tool: "crane",
    deletes: "manifest",
    run: async (name) => runTool("crane", ["delete", byDigest(name)]),
  },
  {
    name: "regctl tag delete", // which then tries to move the tag away by a push
    tool: "regctl",
    deletes: "tag",
    run: async (name) => runTool("regctl", ["--host", plainHost(name), "tag", "delete", `${name}:1`]),
  },
  {
    name: "regctl manifest delete",
    tool: "regctl",
    deletes: "manifest",
    run: async (name) => runTool("regctl", ["--host", plainHost(name), "manifest", "delete", byDigest(name)]),
  },
  {
    name: "skopeo delete NAME:TAG", // which asks for the tag's digest, and deletes that
    tool: "skopeo",
    deletes: "manifest",
    run: async (name) => runTool("skopeo", ["delete", "--tls-verify=false", `docker://${name}:1`]),
  },
  {
    name: "oras manifest delete NAME:TAG", // this too
    tool: "oras",
    deletes: "manifest",
    run: async (name) => runTool("oras", ["manifest", "delete", "--plain-http", "--force", `${name}:1`]),
  },
  {
    name: "curl -X DELETE",
    tool: "curl",
    deletes: "tag",
    run: async (name) => {
      const url = `http://${name.replace("/", "/v2/")}/manifests/1`;
      return runTool("curl", ["-sS", "--fail-with-body", "-X", "DELETE", url]);
    },
  },
];

function plainHost(name: string): string {
  return `reg=${name.slice(0, name.indexOf("/"))},tls=disabled`;
}

describe("an image that real clients delete", () => {
  let service: ServingCommand;
  let host: string;

  beforeAll(async () => {
    const env = { STOWAGE_IMMUTABLE_TAGS: "kept/**:*" };
    service = await serveStowage(["--store", `file:${join(await newFolder(), "data")}`], env);
    host = new URL(service.url).host;
    return async () => {
      service.kill("SIGTERM");
      expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
    };
  });

  for (const [i, client] of clients.entries()) {
    describeIfFound(client.name, missingTools([client.tool]), () => {
      const load = async (repository: string): Promise<void> => {
        const body = new Uint8Array(await tarOf(image));
        for (const tag of ["1", "2"]) {
          const { status } = await fetch(`${service.url}/v1/load/${repository}:${tag}`, { method: "PUT", body });
          expect(status).toBeLessThan(300);
        }
      };
      const statuses = async (repository: string): Promise<number[]> => {
        const references = ["1", "2", image.digest];
        const paths = references.map((reference) => `${service.url}/v2/${repository}/manifests/${reference}`);
        return Promise.all(paths.map(async (path) => (await fetch(path, { method: "HEAD" })).status));
      };

      it(`is gone: ${client.deletes}`, async () => {
        await load(`gone/${i}`);
        await client.run(`${host}/gone/${i}`);
        expect(await statuses(`gone/${i}`)).toEqual(client.deletes === "tag" ? [404, 200, 200] : [404, 404, 404]);
      });

      it("is kept where the settings say so, and the client fails", async () => {
        await load(`kept/${i}`);
        await expect(client.run(`${host}/kept/${i}`)).rejects.toThrow(/409|TAG_IMMUTABLE|never moves/);
        expect(await statuses(`kept/${i}`)).toEqual([200, 200, 200]);
      });
    });
  }
});
