/** Referrers of a client that uses the referrers API, and of one that keeps an index of its own. Both see those of both. */
import { beforeEach, expect, it } from "vitest";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder, serveStowage, stowage } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { runTool } from "../tools/run-tool.ts";

describeIfFound("oras attach", missingTools(["oras"]), () => {
  const image = makeLayout({ name: "docker.io/team/app:1" });
  let folder: string;
  let url: string;

  beforeEach(async () => {
    folder = await newFolder();
    const store = `file:${join(folder, "store")}`;
    await stowage(["load", "-", "--store", store], { input: await tarOf(image) });
    const service = await serveStowage(["--store", store]);
    ({ url } = service);
    return async () => {
      service.kill("SIGTERM");
      await service.outcome;
    };
  });

  async function attach(way: "tag" | "api", text: string): Promise<void> {
    await writeFile(join(folder, `${text}.txt`), text);
    const name = `${new URL(url).host}/team/app:1`;
    const options = ["--plain-http", "--distribution-spec", `v1.1-referrers-${way}`, "--artifact-type", `test/${text}`];
    await runTool("oras", ["attach", ...options, name, `${text}.txt`], { cwd: folder });
  }

  async function typesAt(path: string): Promise<string[]> {
    const answer = await fetch(`${url}/v2/team/app/${path}`);
    const { manifests } = (await answer.json()) as { manifests: { artifactType: string }[] };
    return manifests.map(({ artifactType }) => artifactType).toSorted();
  }

  it("lists each referrer once, whichever way it came", { timeout: 60_000 }, async () => {
    await attach("tag", "one");
    await attach("api", "two");
    await attach("tag", "three");
    expect(await typesAt(`referrers/${image.digest}`)).toEqual(["test/one", "test/three", "test/two"]);
    expect(await typesAt(`manifests/${image.digest.replace(":", "-")}`)).toEqual(["test/one", "test/three"]);
  });
});
