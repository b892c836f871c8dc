/** What users do, with the tools that they have: pipe an image into a running Stowage, and pull it from there. */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { skopeoDigest } from "../tools/accepted-archive.ts";
import { type ArchiveWriter, archiveWriters } from "../tools/archive-writers.ts";
import { dockerArchiveWriters } from "../tools/docker-archive-writers.ts";
import { missingTools } from "../tools/find-tool.ts";
import { type Image, readOnlyImage, unpack } from "../tools/read-image.ts";
import { registryClients } from "../tools/registry-clients.ts";
import { runShell } from "../tools/run-tool.ts";
import { sampleName } from "../tools/sample-image.ts";
import { compareReaders } from "../support/compare-readers.ts";
import { type ServingCommand, newFolder, serveStowage } from "../support/run-stowage.ts";
import { type Workshop, openWorkshop } from "../tools/workshop.ts";
import { describeIfFound } from "../support/requirement.ts";

/** By writer. What a reference is does not depend on the archive, so that a plain image and an index are enough. */
const pulledByDigestToo: ReadonlySet<string> = new Set(["podman save", "buildah manifest push --all, two platforms"]);

describe("an image piped into Stowage", () => {
  let stowage: ServingCommand;
  let workshop: Workshop;

  beforeAll(async () => {
    workshop = await openWorkshop();
    return workshop.close;
  });

  beforeAll(async () => {
    stowage = await serveStowage(["--store", `file:${await newFolder()}`]);
    return async () => {
      stowage.kill("SIGTERM");
      await stowage.outcome;
    };
  });

  for (const [i, writer] of [...archiveWriters, ...dockerArchiveWriters].entries()) {
    describeIfFound(`by ${writer.name}`, missingTools([...writer.needs, "bash", "curl", "tar"]), () => {
      const repository = `piped/${i}`;
      let piped: Piped;

      beforeAll(async () => {
        piped = await pipe(writer, { workshop, url: `${stowage.url}/v1/load/${repository}:1.4` });
      });

      it("is called as the request says", () => {
        const { digest } = piped.image;
        expect(piped.receipt).toMatchObject({ images: [{ repository, reference: "1.4", digest, status: "created" }] });
      });

      // A docker-archive has no digest of its own: the manifest is made by whoever reads it.
      if (!dockerArchiveWriters.includes(writer)) {
        describeIfFound("and looked at by skopeo", missingTools(["skopeo"]), () => {
          it("has the digest that skopeo finds in the archive", async () => {
            const found = await runShell(skopeoDigest, { cwd: dirname(piped.tarball) });
            expect(found.trim()).toBe(piped.image.digest);
          });
        });
      }

      it("is called as the archive says where the request does not", async () => {
        const receipt: unknown = JSON.parse(
          await runShell(`curl -sS --fail-with-body -T - ${stowage.url}/v1/load < ${piped.tarball}`),
        );
        const { digest } = piped.image;
        const { tag, ...name } = writer.image;
        expect(receipt).toMatchObject({
          images: [{ ...name, reference: tag ?? digest, digest }],
          bytes: { written: 0 },
        });
      });

      for (const client of registryClients) {
        describeIfFound(`and pulled by ${client.name}`, missingTools(client.needs), () => {
          it.each(pulledByDigestToo.has(writer.name) ? ["tag", "digest"] : ["tag"])(
            "has every byte, by %s",
            async (by) => {
              const reference = by === "tag" ? "1.4" : piped.image.digest;
              const pulled = await client.pull(
                { registry: new URL(stowage.url).host, repository, reference },
                workshop,
              );
              expect(pulled).toEqual(client.expected(piped.image));
            },
          );
        });
      }
    });
  }

  describeIfFound("with a second name, by docker save", missingTools(["docker", "dockerd", "bash", "curl"]), () => {
    it("has both names", async () => {
      const { docker, env } = await workshop.builder("containerd");
      await docker("tag", sampleName, "other:latest");
      const line = `docker save ${sampleName} other | curl -sS --fail-with-body -T - ${stowage.url}/v1/load`;
      const receipt: unknown = JSON.parse(await runShell(line, { env }));
      const images = [
        { repository: "team/app", reference: "1.4" },
        { repository: "other", reference: "latest", status: "created" },
      ];
      expect(receipt).toMatchObject({ images });
    });
  });
});

interface Piped {
  readonly receipt: unknown;
  /** A copy of what went through the pipe. */
  readonly tarball: string;
  /** The image in it, as GNU tar unpacks it. */
  readonly image: Image;
}

interface PipeOptions {
  readonly workshop: Workshop;
  readonly url: string;
}

async function pipe(writer: ArchiveWriter, { workshop, url }: PipeOptions): Promise<Piped> {
  const folder = await workshop.newFolder();
  const tarball = join(folder, "image.tar");
  const { script, env = {} } = await writer.prepare(workshop);
  const answer = await runShell(`{ ${script}; } | tee ${tarball} | curl -sS --fail-with-body -T - ${url}`, { env });
  await compareReaders(await readFile(tarball));
  const image = await readOnlyImage(await unpack(tarball, join(folder, "unpacked")));
  return { receipt: JSON.parse(answer), tarball, image };
}
