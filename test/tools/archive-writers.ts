/**
 * Real tools that write an image as a tarball, each as a line of shell that writes it to standard output, so that tests
 * can pipe it into `curl -T -` as users do.
 */
import type { Tool } from "./find-tool.ts";
import { sampleName } from "./sample-image.ts";
import { type Environment, type Workshop, sampleListName } from "./workshop.ts";

export interface ArchiveWriter {
  readonly name: string;
  readonly needs: readonly Tool[];
  /** What the archive says of its image's name; without a tag only the digest is left. */
  readonly image: { readonly repository: string; readonly tag: string | undefined };
  /** Makes what the line needs. It may only be run once. */
  prepare(workshop: Workshop): Promise<ArchiveLine>;
}

export interface ArchiveLine {
  readonly script: string;
  readonly env?: Environment;
}

const named = { repository: "team/app", tag: "1.4" };
/** Where the archive has only a tag, the image goes into the default repository. */
const taggedOnly = { repository: "images", tag: "1.4" };
const nameless = { repository: "images", tag: undefined };

export const archiveWriters: readonly ArchiveWriter[] = [
  {
    name: "skopeo copy",
    needs: ["skopeo", "buildah"],
    image: named,
    prepare: async (workshop) =>
      throughPipe(
        workshop,
        (pipe) => `skopeo copy --quiet containers-storage:localhost/${sampleName} oci-archive:${pipe}:${sampleName}`,
      ),
  },
  {
    name: "podman save",
    needs: ["podman", "buildah"],
    image: named, // the archive says `localhost/team/app:1.4`
    prepare: async (workshop) => ({
      script: `podman save --quiet --format oci-archive ${sampleName}`,
      env: await workshop.containers(),
    }),
  },
  {
    name: "buildah push",
    needs: ["buildah"],
    image: taggedOnly,
    prepare: async (workshop) =>
      throughPipe(workshop, (pipe) => `buildah push --quiet ${sampleName} oci-archive:${pipe}:1.4`),
  },
  {
    name: "buildah manifest push --all, two platforms",
    needs: ["buildah"],
    image: nameless,
    prepare: async (workshop) =>
      throughPipe(workshop, (pipe) => `buildah manifest push --quiet --all ${sampleListName} oci-archive:${pipe}`),
  },
  {
    name: "umoci and GNU tar",
    needs: ["umoci", "tar"],
    image: taggedOnly,
    prepare: async (workshop) => ({ script: `tar -C ${await workshop.layout()} -cf - .` }), // `./` before each name
  },
  {
    name: "umoci and bsdtar",
    needs: ["umoci", "bsdtar"],
    image: taggedOnly,
    prepare: async (workshop) => ({
      script: `bsdtar --format pax -C ${await workshop.layout()} -cf - oci-layout index.json blobs`,
    }),
  },
  {
    name: "crane pull",
    needs: ["crane", "tar"],
    image: nameless,
    prepare: async (workshop) => {
      const folder = await workshop.newFolder();
      return {
        script: `crane pull --format oci ${await workshop.registry()}/${sampleName} ${folder}; tar -C ${folder} -cf - .`,
      };
    },
  },
  {
    name: "docker save",
    needs: ["docker", "dockerd"],
    image: named,
    prepare: async (workshop) => ({
      script: `docker save ${sampleName}`,
      env: (await workshop.builder("containerd")).env,
    }),
  },
  {
    name: "docker save, graph driver",
    needs: ["docker", "dockerd"],
    image: named,
    prepare: async (workshop) => ({
      script: `docker save ${sampleName}`,
      env: (await workshop.builder("graph driver")).env,
    }),
  },
  {
    name: "docker save, gzip",
    needs: ["docker", "dockerd", "gzip"],
    image: named,
    prepare: async (workshop) => ({
      script: `docker save ${sampleName} | gzip`,
      env: (await workshop.builder("graph driver")).env,
    }),
  },
  {
    name: "docker save, zstd",
    needs: ["docker", "dockerd", "zstd"],
    image: named,
    prepare: async (workshop) => ({
      script: `docker save ${sampleName} | zstd --quiet`,
      env: (await workshop.builder("containerd")).env,
    }),
  },
];

/** For tools that write to a file alone: they refuse `oci-archive:/dev/stdout` when that is a pipe, but take a named one. */
export async function throughPipe(workshop: Workshop, write: (pipe: string) => string): Promise<ArchiveLine> {
  const pipe = `${await workshop.newFolder()}/image.tar`;
  return {
    script: `mkfifo ${pipe}; ${write(pipe)} >&2 & timeout 50 cat ${pipe}; wait $!`,
    env: await workshop.containers(),
  };
}
