/** Real engines and clients take an exported tarball, and have the image that was loaded into Stowage. */
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { describeIfFound } from "../support/requirement.ts";
import { type ServingCommand, newFolder, serveStowage } from "../support/run-stowage.ts";
import { type ArchiveClient, type Knows, type TakenImages, archiveClients } from "../tools/archive-clients.ts";
import { type Tool, missingTools } from "../tools/find-tool.ts";
import { runShell } from "../tools/run-tool.ts";
import { type Environment, type Workshop, openWorkshop } from "../tools/workshop.ts";

type ClientName = (typeof archiveClients)[number]["name"];

interface ExportCase {
  readonly title: string;
  /** By the name in Stowage: the image in a registry that was loaded. */
  readonly images: Readonly<Record<string, string>>;
  /** What is exported. The first image by default. */
  readonly path?: (digest: string) => string;
  /** The only platform in the tarball. */
  readonly platform?: string;
  /** What the clients do that do not take the images as all others do: what they say, or what they have then. */
  readonly other?: Partial<Record<ClientName, RegExp | ((expected: TakenImages) => TakenImages)>>;
}

/** `crane push` takes a tarball of one image for one platform. */
const oneImageOnly = { "crane push": /must contain only a single image/ } as const;
/** Clients that copy an index whole do not take it without one of its platforms. */
const wholeIndexOnly = {
  "skopeo copy --all oci-archive:": /no such file or directory/,
  "crane push of the unpacked layout": /no such file or directory/,
  "regctl image import": /unable to read all files from tar: not found/,
  "oras copy --from-oci-layout": /not found/,
} as const;
/** If Podman does not take the image layout, it reads `manifest.json`. There, as in what `docker save` writes, names have no host. */
const inLocalhost = (expected: TakenImages): TakenImages =>
  Object.fromEntries(
    Object.entries(expected).map(([name, digest]) => [
      name.replace(/^docker\.io\/(?:library\/)?/, "localhost/"),
      digest,
    ]),
  );

const cases: readonly ExportCase[] = [
  { title: "gzip layers, one of them twice", images: { "team/app:1.4": "$SAMPLE" } },
  { title: "uncompressed layers", images: { "team/app:1": "$SMALL:uncompressed" }, other: oneImageOnly },
  {
    title: "zstd layers",
    images: { "team/app:1": "$SMALL:zstd" },
    other: { ...oneImageOnly, "docker load, 20.10": /archive\/tar: invalid tar header/ },
  },
  { title: "two platforms with attestations", images: { "team/app:1": "$SMALL:attested" }, other: oneImageOnly },
  { title: "Docker's media types in an index", images: { "team/app:1": "$SMALL:docker" }, other: oneImageOnly },
  { title: "a name with one segment", images: { "app:1": "$SMALL:twice" } },
  { title: "the name of the default repository", images: { "images:1": "$SMALL:twice" } },
  { title: "a name with another registry", images: { "ghcr.io/acme/app:1": "$SMALL:twice" } },
  {
    title: "a name with its digest",
    images: { "team/app:1": "$SMALL:amd64" },
    path: (digest) => `team/app:1@${digest}`,
  },
  {
    title: "several images",
    images: { "team/app:1.4": "$SMALL:amd64", "team/app:all": "$SMALL:list", "app:1": "$SMALL:twice" },
    path: () => "team/app:1.4?image=team/app:all&image=app:1",
    other: {
      ...oneImageOnly,
      "crane push of the unpacked layout": /layout contains 3 entries/,
      "podman load": inLocalhost,
    },
  },
  {
    title: "one platform of two",
    images: { "team/app:1": "$SMALL:list" },
    path: () => "team/app:1?platform=linux/amd64",
    platform: "linux/amd64",
    other: wholeIndexOnly,
  },
  {
    title: "a platform of another machine",
    images: { "team/app:1": "$SMALL:list" },
    path: () => "team/app:1?platform=linux/arm64",
    platform: "linux/arm64",
    other: { ...wholeIndexOnly, "podman load": inLocalhost },
  },
  {
    title: "a signature",
    images: { "team/app:1": "$SIGNED" },
    path: () => "team/app:1?referrers=true",
    other: {
      "podman load": inLocalhost,
      "skopeo copy oci-archive:": /more than one image in oci, choose an image/,
      "skopeo copy --all oci-archive:": /more than one image in oci, choose an image/,
      "crane push of the unpacked layout": /layout contains 2 entries/,
    },
  },
];

/** Print the digests of `$SOURCE`, as crane finds them in the registry that the image comes from. */
const questions: Readonly<Record<Knows, string>> = {
  image: "crane digest $SOURCE",
  "platform's manifest": "crane digest --platform $PLATFORM $SOURCE",
  config: "crane manifest --platform $PLATFORM $SOURCE | jq --raw-output .config.digest",
};

const sources: readonly Tool[] = ["bash", "buildctl", "buildkitd", "crane", "curl", "jq", "oras", "regctl", "runc"];

describeIfFound("an exported tarball", missingTools(sources), () => {
  let stowage: ServingCommand;
  let workshop: Workshop;
  let env: Environment;

  beforeAll(async () => {
    workshop = await openWorkshop();
    return workshop.close;
  });
  beforeAll(async () => {
    env = await makeSources(workshop);
  });
  beforeAll(async () => {
    stowage = await serveStowage(["--store", `file:${await newFolder()}`]);
    return async () => {
      stowage.kill("SIGTERM");
      await stowage.outcome;
    };
  });

  async function ask(question: string, source: string, platform = "linux/amd64"): Promise<string> {
    const line = question.replace("$SOURCE", source).replace("$PLATFORM", platform);
    return (await runShell(line, { env })).trim();
  }

  describe.each(cases)("with $title", ({ images, path = () => Object.keys(images)[0] ?? "", platform, other = {} }) => {
    const names = Object.keys(images);
    let tarball: string;

    beforeAll(async () => {
      for (const [name, source] of Object.entries(images)) await load(stowage.url, { name, source, env });
      tarball = join(await workshop.newFolder(), "image.tar");
      const digest = await ask(questions.image, Object.values(images)[0] ?? "");
      await runShell(`curl -sS --fail-with-body -o ${tarball} '${stowage.url}/v1/export/${path(digest)}'`);
    });

    for (const client of archiveClients as readonly ArchiveClient[]) {
      const deviation = other[client.name as ClientName];
      describeIfFound(`by ${client.name}`, missingTools(client.needs), () => {
        it(deviation instanceof RegExp ? "is refused" : "has the digest of the image that was loaded", async () => {
          const taking = client.take(tarball, { names, platform }, workshop);
          if (deviation instanceof RegExp) {
            await expect(taking).rejects.toThrow(deviation);
            return;
          }
          const expected: Record<string, string> = {};
          for (const [name, source] of Object.entries(images)) {
            expected[client.shows?.(name) ?? name] = await ask(questions[client.knows], source, platform);
          }
          expect(await taking).toEqual(deviation?.(expected) ?? expected);
        });
      });
    }
  });

  it("brings an image's signature into another Stowage, where ORAS discovers it", async () => {
    await load(stowage.url, { name: "team/signed:1", source: "$SIGNED", env });
    const other = await serveStowage(["--store", "memory:"]);
    const { host } = new URL(other.url);
    const exported = `curl -sS --fail-with-body ${stowage.url}/v1/export/team/signed:1`;
    const loads = `curl -sS --fail-with-body -T - ${other.url}/v1/load`;
    const discover = "oras discover --plain-http --distribution-spec v1.1-referrers-api --format go-template";
    const digests = "--template '{{range .referrers}}{{.digest}}{{println}}{{end}}'";

    await runShell(`${exported} | ${loads}`);
    expect(await runShell(`${discover} ${digests} ${host}/team/signed:1`)).toBe("");
    await runShell(`${exported}?referrers=true | ${loads}`);
    const signatures = await runShell(`oras discover --plain-http --format go-template ${digests} $SIGNED`, { env });
    expect(signatures).toMatch(/^sha256:[0-9a-f]{64}\n$/);
    expect(await runShell(`${discover} ${digests} ${host}/team/signed:1`)).toBe(signatures);
    other.kill("SIGTERM");
    await other.outcome;
  });
});

interface Loading {
  readonly name: string;
  readonly source: string;
  readonly env: Environment;
}

/** ORAS takes signatures along. */
async function load(url: string, { name, source, env }: Loading): Promise<void> {
  const backup = "oras backup --plain-http --include-referrers --output $BACKUP";
  const backed = { ...env, BACKUP: join(await newFolder(), "backup.tar") };
  await runShell(`${backup} ${source} >&2; curl -sS --fail-with-body -T $BACKUP ${url}/v1/load/${name}`, {
    env: backed,
  });
}

/** Images in registries, by the names of the lines above. */
async function makeSources(workshop: Workshop): Promise<Environment> {
  const registry = await workshop.smallRegistry();
  const env = {
    SAMPLE: `${await workshop.registry()}/team/app:1.4`,
    SMALL: `${registry}/small`,
    SIGNED: `${registry}/signed:1`,
    BUILDKIT_HOST: await workshop.buildKit(),
    CONTEXT: await workshop.smallContext(),
    FOLDER: await workshop.newFolder(),
  };
  await runShell(buildAttested, { env });
  await runShell(sign, { env });
  return env;
}

const buildAttested = `
  buildctl build --progress quiet --frontend dockerfile.v0 --local context=$CONTEXT --local dockerfile=$CONTEXT \
    --opt platform=linux/amd64,linux/arm64 --opt attest:provenance=mode=min \
    --output type=image,name=$SMALL:attested,push=true,registry.insecure=true
`;

const sign = `
  cd $FOLDER
  crane copy $SMALL:amd64 $SIGNED
  echo payload >payload
  oras attach --plain-http $SIGNED --artifact-type application/vnd.dev.cosign.artifact.sig.v1+json payload:a/b
`;
