/** What BuildKit writes of images that it builds, alone or driven by `docker buildx`, and of its cache. */
import { type AcceptedArchive, type ArchiveMaker, regctlDigests, tarLayout } from "./accepted-archive.ts";

const attested = "--opt attest:provenance=mode=max"; // buildx asks for it with mode=min if it is not told otherwise
const twoPlatforms = "--opt platform=linux/amd64,linux/arm64";

export const buildKitArchives: readonly ArchiveMaker[] = [
  {
    name: "BuildKit",
    needs: ["buildctl", "buildkitd", "runc", "regctl"],
    prepare: async (workshop) => ({
      BUILDKIT_HOST: await workshop.buildKit(),
      CONTEXT: await workshop.smallContext(),
    }),
    archives: [
      built("one image, one of its layers empty", { output: "type=oci" }),
      built("an attestation", { options: attested, output: "type=oci,name=docker.io/team/app:1.4" }),
      built("two platforms", { options: twoPlatforms, output: "type=oci,name=ghcr.io/acme/app" }),
      built("two platforms with attestations", { options: `${twoPlatforms} ${attested}`, output: "type=oci" }),
      built("zstd layers and an attestation", {
        options: attested,
        output: "type=oci,compression=zstd,force-compression=true",
      }),
      built("uncompressed layers", { output: "type=oci,compression=uncompressed,force-compression=true" }),
      built("eStargz layers", { output: "type=oci,compression=estargz,force-compression=true" }),
      built("Docker's media types", { output: "type=oci,oci-mediatypes=false" }),
      built("annotations everywhere", {
        options: twoPlatforms,
        output:
          "type=oci,annotation.a=1,annotation-manifest-descriptor.b=2,annotation-index.c=3,annotation-index-descriptor.d=4",
      }),
      built("type=docker", { output: "type=docker,name=team/app:1.4" }),
      built("several names", { output: `'type=oci,"name=team/app:1.4,team/app:latest,other"'` }),
      built("no layers", { output: "type=oci", dockerfile: "FROM scratch\\nLABEL a=b\\n" }),
      {
        title: "a folder, tarred",
        script: `${build("--output type=oci,tar=false,dest=layout,name=team/app:1.4")}; ${tarLayout}`,
        digests: regctlDigests("1.4"),
        puller: "crane",
      },
      cached("its cache, as an image manifest", "image-manifest=true"),
      cached("its cache, as an index that names layers, and a config of BuildKit's own", "image-manifest=false"),
    ],
  },
];

interface BuildOptions {
  readonly options?: string;
  /** To standard output. */
  readonly output: string;
  /** In place of the context's own. */
  readonly dockerfile?: string;
}

/** The digest is the one that BuildKit itself names. */
function built(title: string, { options = "", output, dockerfile }: BuildOptions): AcceptedArchive {
  const write = dockerfile === undefined ? "" : `printf '${dockerfile}' >Dockerfile; `;
  const toStdout = `${options} --output ${output},dest=- --metadata-file built.json`;
  return {
    title,
    script: write + build(toStdout, dockerfile === undefined ? "$CONTEXT" : "."),
    digests: `grep -oP '"containerimage.digest": "\\K[^"]+' built.json`,
    puller: "crane",
  };
}

function cached(title: string, form: string): AcceptedArchive {
  return {
    title,
    script: `${build(`--export-cache type=local,dest=layout,mode=max,${form}`)}; ${tarLayout}`,
    digests: regctlDigests("latest"),
    puller: "oras",
  };
}

function build(options: string, folder = "$CONTEXT"): string {
  return `buildctl build --progress quiet --frontend dockerfile.v0 --local context=$CONTEXT --local dockerfile=${folder} ${options}`;
}
