/** containerd asks a store on its own premises first, and the hub second: docs/seeding.md, "Edge caches on premises". */
import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { type ServingCommand, newFolder, serveStowage, stowage } from "../support/run-stowage.ts";
import { packEntries } from "../support/docker-archive.ts";
import { type Layout, makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { startContainerd } from "../tools/containerd.ts";
import { missingTools } from "../tools/find-tool.ts";
import { runTool } from "../tools/run-tool.ts";
import type { Service } from "../tools/start-service.ts";

const hubName = "images.acme.example";

describeIfFound("containerd with an edge cache", missingTools(["containerd", "ctr"]), () => {
  let hub: ServingCommand;
  let edge: ServingCommand;
  let containerd: Service;
  let hostsFolder: string;
  let v1: Layout;
  let v2: Layout;

  beforeAll(async () => {
    const store = `file:${await newFolder()}`;
    hub = await serveStowage(["--store", `file:${await newFolder()}`]);
    edge = await serveStowage(["--store", store]);
    containerd = await startContainerd(await mkdtemp(join(tmpdir(), "ctr-")));
    hostsFolder = await newFolder();
    await mkdir(join(hostsFolder, hubName));
    const hosts = `server = "${hub.url}"\n\n[host."${edge.url}"]\n  capabilities = ["pull", "resolve"]\n`;
    await writeFile(join(hostsFolder, hubName, "hosts.toml"), hosts);
    [v1, v2] = [await imageOf("v1"), await imageOf("v2")];
    for (const image of [v1, v2]) await load(image);
    const copied = await stowage(["copy", hub.url, store, "team/**:v1"]);
    expect(copied.code, copied.stderr).toBe(0);
    return async () => {
      await containerd.stop();
      for (const service of [edge, hub]) {
        service.kill("SIGTERM");
        expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
      }
    };
  });

  async function load(image: Layout, name = ""): Promise<void> {
    const response = await fetch(`${hub.url}/v1/load${name}`, { method: "PUT", body: await tarOf(image) });
    expect(response.status).toBe(201);
  }

  async function pull(reference: string): Promise<void> {
    const env = { CONTAINERD_ADDRESS: containerd.answer };
    const name = `${hubName}/team/app${reference}`;
    await runTool("ctr", ["images", "pull", "--snapshotter", "native", "--hosts-dir", hostsFolder, name], { env });
  }

  /** The digest that containerd has for the tag. */
  async function pulled(tag: string): Promise<string> {
    await pull(`:${tag}`);
    const env = { CONTAINERD_ADDRESS: containerd.answer };
    const listed = await runTool("ctr", ["images", "list", `name==${hubName}/team/app:${tag}`], { env });
    return /sha256:\w+/.exec(listed)?.[0] ?? listed;
  }

  const pullsIn = (service: ServingCommand): number =>
    service.stdout().match(/GET \/v2\/team\/app\/manifests\/\S+ 200 \(/g)?.length ?? 0;

  it("pulls from the edge what the edge has, and from the hub what only the hub has", async () => {
    const before = pullsIn(hub);
    expect(await pulled("v1")).toBe(v1.digest);
    expect([pullsIn(edge), pullsIn(hub) - before]).toEqual([1, 0]);
    expect(await pulled("v2")).toBe(v2.digest);
    expect([pullsIn(edge), pullsIn(hub) - before]).toEqual([1, 1]);
  });

  it("gets the image before for a tag that has moved in the hub, and the new image by its digest", async () => {
    await load(await imageOf("moved"), "/team/app:v1");
    expect(await pulled("v1")).toBe(v1.digest);
    await pull(`@${(await imageOf("moved")).digest}`);
  });

  it("pulls from the hub while the edge is down", async () => {
    edge.kill("SIGTERM");
    await edge.outcome;
    await load(await imageOf("v3"));
    expect(await pulled("v3")).toBe((await imageOf("v3")).digest);
  });
});

async function imageOf(tag: string): Promise<Layout> {
  const layer = await packEntries([{ name: "version", bytes: Buffer.from(tag) }]);
  return makeLayout({ layers: [layer], name: `docker.io/team/app:${tag}` });
}
