/** The small images of a registry, each as the clients of registries write it. */
import {
  type AcceptedArchive,
  type ArchiveMaker,
  type Puller,
  orasDigests,
  skopeoDigest,
  tarLayout,
} from "./accepted-archive.ts";
import type { Tool } from "./find-tool.ts";
import { type SmallImage, smallImages } from "./small-images.ts";

const regctl = "regctl --host reg=$REGISTRY,tls=disabled image";
const backup = "oras backup --plain-http --output written.tar";
const mostImages = ["amd64", "twice", "list", "nested", "zstd", "uncompressed", "docker", "data"] as const;

export const registryArchives: readonly ArchiveMaker[] = [
  {
    ...makerOf("regctl image export", ["regctl"]),
    archives: [
      ...every([...mostImages, "none"], (image) => ({
        script: `${regctl} export $SMALL:${image}`,
        puller: image === "none" ? "oras" : "crane", // which pulls no empty index
      })),
      {
        title: "one platform of an index",
        script: `${regctl} export --platform linux/arm64 $SMALL:list`,
        digests: "crane digest --platform linux/arm64 $SMALL:list",
        puller: "skopeo",
      },
      {
        title: "a name of its own, compressed",
        script: `${regctl} export --compress --name docker.io/team/app:1.4 $SMALL:amd64`,
        digests: "crane digest $SMALL:amd64",
        puller: "oras",
      },
    ],
  },
  {
    ...makerOf("regctl image copy and tar", ["regctl"]),
    archives: [
      ...every(["nested", "zstd"], (image) => ({
        script: `${regctl} copy $SMALL:${image} ocidir://layout:it >&2; ${tarLayout}`,
        puller: "crane",
      })),
      {
        title: "several tags",
        script: `for tag in amd64 list docker; do ${regctl} copy $SMALL:$tag ocidir://layout:$tag >&2; done; ${tarLayout}`,
        digests: digestsOf("amd64 list docker"),
        puller: "skopeo",
      },
    ],
  },
  {
    ...makerOf("crane pull --format=oci and tar", ["crane"]),
    archives: [
      ...every(mostImages, (image) => ({
        script: `crane pull --format=oci $SMALL:${image} layout >&2; ${tarLayout}`,
        puller: "regctl",
      })),
      {
        title: "two images",
        script: `crane pull --format=oci $SMALL:amd64 $SMALL:arm64 layout >&2; ${tarLayout}`,
        digests: digestsOf("amd64 arm64"),
        puller: "oras",
      },
    ],
  },
  {
    ...makerOf("skopeo copy oci-archive:", ["skopeo"]),
    archives: [
      ...every(["amd64", "twice", "list", "zstd", "uncompressed"], (image) => ({
        script: `${skopeoCopy("--all --preserve-digests", image)} oci-archive:written.tar:it; cat written.tar`,
        puller: "crane",
      })),
      ...["zstd", "gzip"].map((format): AcceptedArchive => ({
        title: `layers packed again with ${format}`,
        script: `${skopeoCopy(`--dest-compress --dest-compress-format ${format}`, "uncompressed")} oci-archive:written.tar; cat written.tar`,
        digests: skopeoDigest,
        puller: "regctl",
      })),
      {
        title: "Docker's media types turned into OCI's",
        script: `${skopeoCopy("--format oci", "docker")} oci-archive:written.tar:team/app:1.4; cat written.tar`,
        digests: skopeoDigest,
        puller: "oras",
      },
      {
        title: "two tags, in a layout",
        script: `for tag in amd64 twice; do ${skopeoCopy("", "$tag")} oci:layout:$tag; done; ${tarLayout}`,
        digests: orasDigests("amd64", "twice"),
        puller: "regctl",
      },
    ],
  },
  {
    ...makerOf("oras copy --to-oci-layout and tar", ["oras"]), // beside an index it lists each manifest of it
    archives: every(["amd64", "list", "nested", "none", "docker"], (image) => ({
      script: `oras copy --from-plain-http --to-oci-layout $SMALL:${image} layout:it >&2; ${tarLayout}`,
      puller: "regctl",
    })),
  },
  {
    ...makerOf("oras backup", ["oras"]),
    archives: [
      ...every(["list", "nested", "zstd"], (image) => ({
        script: `${backup} $SMALL:${image} >&2; cat written.tar`,
        puller: "crane",
      })),
      {
        title: "several tags",
        script: `${backup} $SMALL:amd64,twice,docker >&2; cat written.tar`,
        digests: digestsOf("amd64 twice docker"),
        puller: "skopeo",
      },
    ],
  },
];

function makerOf(name: string, needs: readonly Tool[]): Pick<ArchiveMaker, "name" | "needs" | "prepare"> {
  return {
    name,
    needs: [...needs, "crane", "regctl"],
    prepare: async (workshop) => {
      const registry = await workshop.smallRegistry();
      return { REGISTRY: registry, SMALL: `${registry}/small` };
    },
  };
}

interface WholeImage {
  readonly script: string;
  readonly puller: Puller;
}

function every(images: readonly SmallImage[], write: (image: SmallImage) => WholeImage): AcceptedArchive[] {
  return images.map((image) => ({ title: smallImages[image], digests: digestsOf(image), ...write(image) }));
}

/** What the registry says of its images with these tags. */
function digestsOf(tags: string): string {
  return `for tag in ${tags}; do crane digest $SMALL:$tag; done`;
}

function skopeoCopy(options: string, image: string): string {
  return `skopeo copy --quiet --src-tls-verify=false ${options} docker://$SMALL:${image}`;
}
