/** A docker-archive that went through Stowage is the image that `podman load` makes of the same file. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { compareReaders } from "../support/compare-readers.ts";
import { type ServingCommand, newFolder, serveStowage } from "../support/run-stowage.ts";
import { describeIfFound } from "../support/requirement.ts";
import { containersEnvironment } from "../tools/containers-storage.ts";
import { dockerArchiveWriters } from "../tools/docker-archive-writers.ts";
import { missingTools } from "../tools/find-tool.ts";
import { runShell, runTool } from "../tools/run-tool.ts";
import { sampleName } from "../tools/sample-image.ts";
import { type Environment, type Workshop, openWorkshop } from "../tools/workshop.ts";

describe("a docker-archive in Stowage", () => {
  let stowage: ServingCommand;
  let storeFolder: string;
  let workshop: Workshop;

  beforeAll(async () => {
    workshop = await openWorkshop();
    return workshop.close;
  });

  beforeAll(async () => {
    storeFolder = await newFolder();
    stowage = await serveStowage(["--store", `file:${storeFolder}`]);
    return async () => {
      stowage.kill("SIGTERM");
      await stowage.outcome;
    };
  });

  /** Pipes the archive into Stowage, then compares each of its images. Returns what they are called. */
  async function expectSameAsLoaded({ script, env = {} }: { script: string; env?: Environment }): Promise<string[]> {
    const tarball = join(await workshop.newFolder(), "image.tar");
    const answer = await runShell(
      `{ ${script}; } | tee ${tarball} | curl -sS --fail-with-body -T - ${stowage.url}/v1/load`,
      { env },
    );
    await compareReaders(await readFile(tarball));
    const { images } = JSON.parse(answer) as Answer;
    const loaded = await newStorage();
    await runTool("podman", ["load", "--quiet", "--input", tarball], { env: loaded });
    const expected = await inspectAll(loaded);
    expect(expected).not.toEqual([]);

    const pulled = await newStorage();
    for (const { repository, reference } of images) {
      const name = `${repository}${reference.includes(":") ? "@" : ":"}${reference}`;
      const image = `${new URL(stowage.url).host}/${name}`;
      await runTool("podman", ["pull", "--quiet", "--tls-verify=false", image], { env: pulled });
    }
    expect(await inspectAll(pulled)).toEqual(expected);
    expect(await runShell(`find ${storeFolder}/staging -type f 2>/dev/null || true`)).toBe("");
    return images.map(({ repository, reference }) => `${repository}:${reference}`);
  }

  async function newStorage(): Promise<Environment> {
    return containersEnvironment(await workshop.newFolder());
  }

  for (const writer of dockerArchiveWriters) {
    describeIfFound(`by ${writer.name}`, missingTools([...writer.needs, "podman", "bash", "curl"]), () => {
      it("has the config and the layers that podman loads", async () => {
        await expectSameAsLoaded(await writer.prepare(workshop));
      });
    });
  }

  describeIfFound("by podman save of several images", missingTools(["podman", "buildah", "bash", "curl"]), () => {
    it("has each of them, under each of its names", async () => {
      const env = await workshop.containers();
      await labelWith(["buildah", "podman"], env);
      const script = `podman save --quiet --multi-image-archive ${sampleName} other:latest localhost/labelled:1`;
      expect((await expectSameAsLoaded({ script, env })).toSorted()).toEqual([
        "labelled:1",
        "other:latest",
        "team/app:1.4",
      ]);
    });
  });

  describeIfFound(
    "by docker save of several images, Docker 20.10",
    missingTools(["docker", "dockerd 20.10", "podman", "bash", "curl"]),
    () => {
      it("has each of them, under each of its names, also where layers are links", async () => {
        const { env } = await workshop.builder("graph driver of 20.10");
        await labelWith(["docker", "docker"], env);
        const script = `docker save ${sampleName} other labelled:1`;
        const tar = await runShell(`${script} | tar -tvf - | grep -c ' -> ' || true`, { env });
        expect(Number(tar), "links between layers").toBeGreaterThan(0);
        expect((await expectSameAsLoaded({ script, env })).toSorted()).toEqual([
          "labelled:1",
          "other:latest",
          "team/app:1.4",
        ]);
      });
    },
  );

  /** Gives the sample image a second name, and makes another image with the same layers. */
  async function labelWith([build, tag]: readonly [string, string], env: Environment): Promise<void> {
    const file = join(await workshop.newFolder(), "Dockerfile");
    await runShell(`printf 'FROM ${sampleName}\\nLABEL more=labels\\n' > ${file}`);
    const folder = join(file, "..");
    const command =
      build === "buildah"
        ? ["bud", "--quiet", "--pull-never", "--tag", "localhost/labelled:1", folder]
        : ["build", "--quiet", "--tag", "labelled:1", folder];
    await runTool(build, command, { env });
    await runTool(tag, ["tag", sampleName, "other:latest"], { env });
  }
});

interface Answer {
  readonly images: readonly { readonly repository: string; readonly reference: string }[];
}

/** The images of a storage: of each its id, which is the digest of its config, and its layers as they are unpacked. */
async function inspectAll(env: Environment): Promise<string[]> {
  const ids = (await runTool("podman", ["images", "--quiet", "--no-trunc"], { env }))
    .split("\n")
    .filter((id) => id !== "");
  const format = "{{.Id}} {{.RootFS.Layers}}";
  return (
    await Promise.all(
      [...new Set(ids)].map((id) =>
        runTool("podman", ["image", "inspect", "--format", format, id.replace("sha256:", "")], { env }),
      ),
    )
  ).toSorted();
}
