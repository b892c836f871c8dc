/** What people read whose client pushes, or gives an image one more tag, which Stowage does not take yet. */
import { beforeAll, describe, expect, it } from "vitest";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder, serveStowage } from "../support/run-stowage.ts";
import { containersEnvironment } from "../tools/containers-storage.ts";
import { type Tool, missingTools } from "../tools/find-tool.ts";
import { runShell, runTool } from "../tools/run-tool.ts";
import { type Workshop, openWorkshop } from "../tools/workshop.ts";

interface Client {
  readonly name: string;
  readonly needs: readonly Tool[];
  /** `host` is `127.0.0.1:PORT`, and has `team/app:1.4`. */
  readonly push: (host: string, workshop: Workshop) => Promise<unknown>;
}

const clients: readonly Client[] = [
  {
    name: "docker push",
    needs: ["docker", "dockerd"],
    push: async (host, workshop) => {
      const { docker } = await workshop.puller("containerd");
      await docker("pull", "--quiet", `${host}/team/app:1.4`);
      await docker("tag", `${host}/team/app:1.4`, `${host}/team/new:1`);
      await docker("push", `${host}/team/new:1`);
    },
  },
  {
    name: "docker push, by an engine with the graph driver",
    needs: ["docker", "dockerd"],
    push: async (host, workshop) => {
      const { docker } = await workshop.puller("graph driver");
      await docker("pull", "--quiet", `${host}/team/app:1.4`);
      await docker("tag", `${host}/team/app:1.4`, `${host}/team/new:1`);
      await docker("push", `${host}/team/new:1`);
    },
  },
  {
    name: "podman push",
    needs: ["podman"],
    push: async (host, workshop) => {
      const env = await containersEnvironment(await workshop.newFolder());
      await runTool("podman", ["pull", "--quiet", "--tls-verify=false", `${host}/team/app:1.4`], { env });
      await runTool("podman", ["push", "--tls-verify=false", `${host}/team/app:1.4`, `${host}/team/new:1`], { env });
    },
  },
  {
    name: "skopeo copy",
    needs: ["skopeo"],
    push: async (host, workshop) => {
      const source = `oci:${await workshop.layout()}:1.4`;
      await runTool("skopeo", ["copy", "--dest-tls-verify=false", source, `docker://${host}/team/new:1`]);
    },
  },
  {
    name: "crane push",
    needs: ["crane"],
    push: async (host, workshop) => runTool("crane", ["push", await workshop.layout(), `${host}/team/new:1`]),
  },
  {
    name: "crane tag",
    needs: ["crane"],
    push: async (host) => runTool("crane", ["tag", `${host}/team/app:1.4`, "new"]),
  },
  {
    name: "oras push",
    needs: ["oras"],
    push: async (host, workshop) =>
      runTool("oras", ["push", "--plain-http", `${host}/team/new:1`, "oci-layout"], { cwd: await workshop.layout() }),
  },
  {
    name: "regctl image copy",
    needs: ["regctl"],
    push: async (host, workshop) => {
      const source = `ocidir://${await workshop.layout()}:1.4`;
      await runTool("regctl", ["--host", `reg=${host},tls=disabled`, "image", "copy", source, `${host}/team/new:1`]);
    },
  },
];

describe("a push", () => {
  let workshop: Workshop;
  let url: string;

  beforeAll(async () => {
    workshop = await openWorkshop();
    return workshop.close;
  });

  beforeAll(async () => {
    const service = await serveStowage(["--store", `file:${await newFolder()}`]);
    ({ url } = service);
    return async () => {
      service.kill("SIGTERM");
      expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
    };
  });

  for (const { name, needs, push } of clients) {
    describeIfFound(`by ${name}`, missingTools(["umoci", "bash", "curl", "tar", ...needs]), () => {
      it("fails with what to do instead", { timeout: 60_000 }, async () => {
        const load = `${url}/v1/load`;
        await runShell(`tar -C ${await workshop.layout()} -c . | curl -sS --fail-with-body -T - ${load}/team/app:1.4`);
        await expect(push(new URL(url).host, workshop)).rejects.toThrow(
          `Stowage takes no pushes; pipe the image into it instead: docker save IMAGE | curl -T - ${load}`,
        );
        expect((await fetch(`${url}/v2/team/new/tags/list`)).status).toBe(404);
      });
    });
  }
});
