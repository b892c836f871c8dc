/** Real tools that write a docker-archive without an index: what `docker save` wrote before Docker 25. */
import { type ArchiveWriter, throughPipe } from "./archive-writers.ts";
import { sampleName } from "./sample-image.ts";

const named = { repository: "team/app", tag: "1.4" };

export const dockerArchiveWriters: readonly ArchiveWriter[] = [
  {
    name: "docker save of Docker 20.10",
    needs: ["docker", "dockerd 20.10"],
    image: named,
    prepare: async (workshop) => ({
      script: `docker save ${sampleName}`,
      env: (await workshop.builder("graph driver of 20.10")).env,
    }),
  },
  {
    name: "podman save, docker-archive",
    needs: ["podman", "buildah"],
    image: named, // the archive says `localhost/team/app:1.4`
    prepare: async (workshop) => ({
      script: `podman save --quiet ${sampleName}`,
      env: await workshop.containers(),
    }),
  },
  {
    name: "skopeo copy, docker-archive",
    needs: ["skopeo", "buildah"],
    image: named,
    prepare: async (workshop) =>
      throughPipe(
        workshop,
        (pipe) => `skopeo copy --quiet containers-storage:localhost/${sampleName} docker-archive:${pipe}:${sampleName}`,
      ),
  },
  {
    name: "skopeo copy, docker-archive without a name",
    needs: ["skopeo", "buildah"],
    image: { repository: "images", tag: undefined },
    prepare: async (workshop) =>
      throughPipe(
        workshop,
        (pipe) => `skopeo copy --quiet containers-storage:localhost/${sampleName} docker-archive:${pipe}`,
      ),
  },
  ...["tarball", "legacy"].map((format): ArchiveWriter => ({
    name: `crane pull, ${format}`,
    needs: ["crane"],
    image: named, // the archive says `127.0.0.1:PORT/team/app:1.4`
    prepare: async (workshop) => {
      const file = `${await workshop.newFolder()}/image.tar`;
      const image = `${await workshop.registry()}/${sampleName}`;
      return { script: `crane pull --format ${format} ${image} ${file}; cat ${file}` };
    },
  })),
];
