/** What containerd, Docker, Podman and Buildah write of images that they pulled, imported or built. */
import { type AcceptedArchive, type ArchiveMaker, regctlDigests, skopeoDigest, tarLayout } from "./accepted-archive.ts";
import { runShell } from "./run-tool.ts";
import { sampleName } from "./sample-image.ts";

const saveById =
  "docker pull --quiet $SMALL:amd64 >&2; docker save $(docker image inspect --format '{{.Id}}' $SMALL:amd64)";

export const engineArchives: readonly ArchiveMaker[] = [
  {
    name: "ctr images export",
    needs: ["containerd", "ctr", "crane", "regctl", "umoci"],
    prepare: async (workshop) => ({
      CONTAINERD_ADDRESS: await workshop.containerd(),
      SMALL: `${await workshop.smallRegistry()}/small`,
      LAYOUT: await workshop.smallLayout(),
    }),
    archives: [
      exported("one image", { tags: "amd64" }),
      exported("all platforms", { tags: "list", select: "--all-platforms" }),
      exported("all platforms with Docker's media types", { tags: "docker", select: "--all-platforms" }),
      exported("all platforms, without a manifest.json", {
        tags: "list",
        select: "--all-platforms --skip-manifest-json",
      }),
      exported("an index inside an index", { tags: "nested", select: "--all-platforms" }),
      exported("several images", { tags: "amd64 twice uncompressed", select: "--all-platforms" }),
      sparse("a sparse index, of amd64", { tags: "list", select: "--platform linux/amd64" }),
      sparse("a sparse index, of arm64", { tags: "list", select: "--platform linux/arm64" }),
      sparse("a sparse index with zstd layers", { tags: "zstd", select: "--platform linux/amd64" }),
      {
        title: "an image that it imported from a tarball of umoci's layout",
        script:
          "tar -C $LAYOUT -cf layout.tar .; ctr images import --no-unpack --base-name docker.io/team/app layout.tar >&2; " +
          "ctr images export - docker.io/team/app:1.4",
        digests: digestInCtr("docker.io/team/app:1.4"),
        puller: "regctl",
      },
    ],
  },
  {
    name: "docker save, with containerd's store",
    needs: ["docker", "dockerd", "crane", "regctl"],
    prepare: async (workshop) => ({
      ...(await workshop.puller("containerd")).env,
      SMALL: `${await workshop.smallRegistry()}/small`,
    }),
    archives: [
      saved("one image", { tags: "amd64" }),
      saved("several images", { tags: "twice amd64" }),
      {
        ...saved("an image by its ID, without a name", { tags: "amd64" }),
        script: saveById,
      },
      {
        ...saved("a sparse index, as it pulls the engine's own platform alone", { tags: "list" }),
        pulled: "crane digest --platform linux/amd64 $SMALL:list",
      },
    ],
  },
  {
    name: "docker save, with the graph driver",
    needs: ["docker", "dockerd", "crane", "regctl", "skopeo"],
    prepare: async (workshop) => ({
      ...(await workshop.puller("graph driver")).env,
      SMALL: `${await workshop.smallRegistry()}/small`,
    }),
    archives: [
      { ...saved("one image, of an index", { tags: "list" }), digests: regctlDigests("list") },
      { ...saved("several images", { tags: "twice amd64" }), digests: regctlDigests("twice", "amd64") },
      {
        ...saved("an image by its ID, without a name", { tags: "amd64" }),
        script: saveById,
        digests: skopeoDigest,
      },
      {
        ...saved("layers that were zstd and uncompressed", { tags: "zstd uncompressed" }),
        digests: regctlDigests("zstd", "uncompressed"),
      },
    ],
  },
  {
    name: "engines that pulled what BuildKit pushed",
    needs: ["buildctl", "buildkitd", "runc", "docker", "dockerd", "containerd", "ctr", "crane", "regctl"],
    prepare: async (workshop) => {
      const small = `${await workshop.smallRegistry()}/small`;
      const env = { BUILDKIT_HOST: await workshop.buildKit(), CONTEXT: await workshop.smallContext(), SMALL: small };
      await runShell(pushAttested, { env });
      return {
        ...(await workshop.puller("containerd")).env,
        CONTAINERD_ADDRESS: await workshop.containerd(),
        SMALL: small,
      };
    },
    archives: [
      exported("ctr images export, two platforms with attestations", {
        tags: "attested",
        select: "--all-platforms",
      }),
      sparse("ctr images export, a sparse index without its attestations", {
        tags: "attested",
        select: "--platform linux/amd64",
      }),
      {
        ...saved("docker save, a sparse index of one platform", { tags: "attested" }),
        pulled: "crane digest --platform linux/amd64 $SMALL:attested",
      },
    ],
  },
  {
    name: "podman and buildah",
    needs: ["podman", "buildah", "skopeo"],
    prepare: async (workshop) => workshop.containers(),
    archives: [
      {
        title: "podman save --format oci-dir, tarred",
        script: `podman save --quiet --format oci-dir --output layout ${sampleName} >&2; ${tarLayout}`,
        digests: skopeoDigest,
        puller: "regctl",
      },
      {
        title: "podman save --uncompressed",
        script: `podman save --quiet --format oci-archive --uncompressed ${sampleName}`,
        digests: skopeoDigest,
        puller: "crane",
      },
      {
        title: "buildah push to a layout, with zstd layers",
        script: `buildah push --quiet --compression-format zstd localhost/${sampleName} oci:layout:1.4 >&2; ${tarLayout}`,
        digests: skopeoDigest,
        puller: "oras",
      },
      {
        title: "buildah push of Docker's media types",
        script: `buildah push --quiet --format v2s2 localhost/${sampleName} oci-archive:written.tar:1.4 >&2; cat written.tar`,
        digests: skopeoDigest,
        puller: "crane",
      },
    ],
  },
];

const pushAttested = `
  buildctl build --progress quiet --frontend dockerfile.v0 --local context=$CONTEXT --local dockerfile=$CONTEXT \
    --opt platform=linux/amd64,linux/arm64 --opt attest:provenance=mode=min \
    --output type=image,name=$SMALL:attested,push=true,registry.insecure=true
`;

interface TaggedImages {
  /** Of the small images, with spaces between them. */
  readonly tags: string;
  readonly select?: string;
}

function exported(title: string, { tags, select = "" }: TaggedImages): AcceptedArchive {
  const fetch = "ctr content fetch --plain-http --all-platforms $SMALL:$tag >&2; names+=($SMALL:$tag)";
  return {
    title,
    script: `names=(); for tag in ${tags}; do ${fetch}; done; ctr images export ${select} - \${names[@]}`,
    digests: `for tag in ${tags}; do ${digestInCtr("$SMALL:$tag")}; done`,
    puller: "crane",
  };
}

/** What is there of it can be pulled. */
function sparse(title: string, image: Required<TaggedImages>): AcceptedArchive {
  const pulled = `crane digest ${image.select} $SMALL:${image.tags}`;
  return { ...exported(title, image), pulled, puller: "skopeo" };
}

function digestInCtr(name: string): string {
  return `ctr images list name==${name} | awk 'NR > 1 { print $3 }'`;
}

/** The digest is that of containerd's store; the graph driver does not know one before it saves. */
function saved(title: string, { tags }: TaggedImages): AcceptedArchive {
  const pull = "docker pull --quiet $SMALL:$tag >&2; names+=($SMALL:$tag)";
  return {
    title,
    script: `names=(); for tag in ${tags}; do ${pull}; done; docker save \${names[@]}`,
    digests: `for tag in ${tags}; do docker image inspect --format '{{.Id}}' $SMALL:$tag; done`,
    puller: "skopeo",
  };
}
