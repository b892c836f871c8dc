/**
 * Artifacts, signatures and attestations, and manifests with whatever the specification lets them hold, by ORAS and regctl.
 */
import { type AcceptedArchive, type ArchiveMaker, orasDigests, regctlDigests, tarLayout } from "./accepted-archive.ts";

const signature =
  "application/vnd.dev.cosign.artifact.sig.v1+json payload:application/vnd.dev.cosign.simplesigning.v1+json";
const bundle = "application/vnd.dev.sigstore.bundle.v0.3+json payload:application/vnd.dev.sigstore.bundle.v0.3+json";
const attestation = "application/vnd.in-toto+json payload:application/vnd.in-toto+json";
const sbom = "application/spdx+json payload:application/spdx+json";

/** Opens a subshell in which all that is printed goes elsewhere: standard output is for the archive. */
const files = "(echo payload >payload; echo '{}' >config; : >empty";

export const artifactArchives: readonly ArchiveMaker[] = [
  {
    name: "ORAS",
    needs: ["oras", "crane", "regctl"],
    prepare: async (workshop) => {
      const registry = await workshop.smallRegistry();
      return { REGISTRY: registry, SMALL: `${registry}/small` };
    },
    archives: [
      pushed("files of media types that nobody knows", "--artifact-type a/thing payload:a/b config"),
      pushed("a file without a byte", "--artifact-type a/thing empty:a/empty"),
      pushed("an artifact without files", "--artifact-type a/nothing"),
      pushed(
        "a Helm chart",
        "--config config:application/vnd.cncf.helm.config.v1+json payload:application/vnd.cncf.helm.chart.content.v1.tar+gzip",
      ),
      pushed("a Wasm module", "--config config:application/vnd.wasm.config.v0+json payload:application/wasm"),
      pushed("an artifact of before artifactType", "--image-spec v1.0 --config config:a/config payload:a/b"),
      {
        title: "an index of artifacts with a type of its own",
        script: [
          files,
          "oras push --oci-layout layout:a --artifact-type a/a payload:a/b",
          "oras push --oci-layout layout:b --artifact-type a/b config:a/b",
          `oras manifest index create --oci-layout layout:it a b --artifact-type a/index --annotation a=b) >&2; ${tarLayout}`,
        ].join("; "),
        digests: orasDigests("it", "a", "b"),
        puller: "regctl",
      },
      attached("a signature", { image: "amd64", types: [signature] }),
      attached("a signature of an index", { image: "list", types: [signature] }),
      attached("a signature, an attestation and a bill of materials", {
        image: "amd64",
        types: [bundle, attestation, sbom],
      }),
      attached("a signature of an attestation", { image: "amd64", types: [attestation, signature], isChain: true }),
      {
        title: "a signature under cosign's former tag",
        script: [
          files,
          copied("amd64"),
          "tag=$(oras resolve --oci-layout layout:it | tr : -).sig",
          `oras push --oci-layout layout:$tag --config config:application/vnd.oci.image.config.v1+json payload:a/b) >&2; ${tarLayout}`,
        ].join("; "),
        digests: `${orasDigests("it")}; ${orasDigests("$(oras resolve --oci-layout unpacked:it | tr : -).sig")}`,
        puller: "crane",
      },
    ],
  },
  {
    name: "a registry's image with its referrers",
    needs: ["oras", "crane", "regctl"],
    prepare: async (workshop) => {
      const registry = await workshop.smallRegistry();
      return { REGISTRY: registry, SMALL: `${registry}/small` };
    },
    archives: [
      signedThere("oras copy --recursive and tar", {
        write: `oras copy --recursive --from-plain-http --to-oci-layout $SIGNED layout:it >&2; ${tarLayout}`,
        digests: orasDigests("it"),
      }),
      signedThere("oras backup --include-referrers", {
        write: "oras backup --plain-http --include-referrers --output written.tar $SIGNED >&2; cat written.tar",
        digests: orasDigests("it"),
      }),
      {
        ...signedThere("regctl image copy --referrers --digest-tags and tar", {
          write: `regctl --host reg=$REGISTRY,tls=disabled image copy --referrers --digest-tags $SIGNED ocidir://layout:it >&2; ${tarLayout}`,
          digests: "",
        }),
        // The referrer is in an index, under the tag that the specification falls back upon.
        digests: regctlDigests("it", "$(regctl manifest head ocidir://unpacked:it | tr : -)"),
      },
    ],
  },
  {
    name: "ORAS, of a manifest that was changed",
    needs: ["oras", "crane", "regctl"],
    prepare: async (workshop) => ({ SMALL: `${await workshop.smallRegistry()}/small` }),
    archives: [
      changed("an OCI layer that is only to be had elsewhere", {
        edit: `s|"layers":\\[|&${elsewhere("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")},|`,
      }),
      changed("a foreign layer of Docker's", {
        edit: `s|"layers":\\[|&${elsewhere("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")},|`,
      }),
      changed("fields that nobody knows", { edit: `s|^{|&"unknown":{"a":[1,{"b":null}]},|` }),
      changed("no media type of its own", { edit: `s|"mediaType":"[^"]*manifest[^"]*",||` }),
      changed("spaces, and annotations that are not ASCII", {
        edit: `s|^{|{  "annotations": {"é": "→ \\\\ud83d\\\\ude00"},  |`,
      }),
      changed("layers of a media type that nobody knows", {
        edit: "s|application/vnd.oci.image.layer.v1.tar+gzip|a/b|",
      }),
      changed("no layers", { edit: `s|"layers":\\[.*\\]|"layers":[]|` }),
    ],
  },
];

function pushed(title: string, what: string): AcceptedArchive {
  return {
    title,
    script: `${files}; oras push --oci-layout layout:it ${what}) >&2; ${tarLayout}`,
    digests: orasDigests("it"),
    puller: "regctl",
  };
}

interface Attached {
  readonly image: "amd64" | "list";
  /** Each with the file that it holds. */
  readonly types: readonly string[];
  /** Each says something about the one before it, not about the image. */
  readonly isChain?: boolean;
}

/** ORAS says of each referrer at once what its digest is. */
function attached(title: string, { image, types, isChain = false }: Attached): AcceptedArchive {
  const attach = types.map(
    (type, i) =>
      `oras attach --oci-layout ${isChain && i > 0 ? "layout@$(tail -n 1 referrers)" : "layout:it"} --artifact-type ${type} ` +
      `--annotation n=${i} --format go-template --template '{{.digest}}{{println}}' >>referrers`,
  );
  return {
    title,
    script: `${[files, copied(image), ...attach].join("; ")}) >&2; ${tarLayout}`,
    digests: `${orasDigests("it")}; cat referrers`,
    puller: "oras",
  };
}

function copied(image: string): string {
  return `oras copy --from-plain-http --to-oci-layout $SMALL:${image} layout:it`;
}

interface SignedThere {
  /** Writes `$SIGNED`. */
  readonly write: string;
  readonly digests: string;
}

function signedThere(title: string, { write, digests }: SignedThere): AcceptedArchive {
  const sign = `oras attach --plain-http $SIGNED --artifact-type ${signature} --format go-template --template '{{.digest}}{{println}}' >referrers`;
  return {
    title,
    script: `SIGNED=$REGISTRY/signed/$$:it; ${files}; oras copy --from-plain-http --to-plain-http $SMALL:amd64 $SIGNED; ${sign}) >&2; ${write}`,
    digests: `${digests}; cat referrers`,
    puller: "oras",
  };
}

/** The manifest of a small image, edited by sed, beside the image itself. */
function changed(title: string, { edit }: { readonly edit: string }): AcceptedArchive {
  const lines = [
    copied("amd64"),
    "crane manifest $SMALL:amd64 >original.json",
    `sed '${edit}' original.json >manifest.json`,
    "if cmp -s original.json manifest.json; then echo 'sed changed nothing'; exit 1; fi",
    `oras manifest push --oci-layout --media-type application/vnd.oci.image.manifest.v1+json layout:it manifest.json`,
  ];
  return {
    title,
    script: `(${lines.join("; ")}) >&2; ${tarLayout}`,
    digests: `crane digest $SMALL:amd64; ${orasDigests("it")}`,
    puller: "regctl",
  };
}

function elsewhere(mediaType: string): string {
  const digest = `sha256:${"ab".repeat(32)}`;
  return `{"mediaType":"${mediaType}","digest":"${digest}","size":5,"urls":["https://example.com/layer"]}`;
}
