/** `stowage export`: images of a store, a service or a registry as a tarball. */
import { parseArgs } from "node:util";
import { StowageError } from "../errors.ts";
import { openFrom, packArchive } from "../export/pack-archive.ts";
import { type ExportPlan, type WantedImage, planExport } from "../export/plan-export.ts";
import { parsePlatform } from "../oci/descriptor.ts";
import { type ImageName, formatName, parseImageName } from "../oci/reference.ts";
import { type Command, type CommandIo, checkCount, exitCodes, readName } from "./command.ts";
import { formatBytes, formatCount, printable } from "./format.ts";
import { openOutput } from "./open-output.ts";
import { type OpenSource, openSource } from "./open-source.ts";
import { startProgress } from "./progress.ts";

const usage = "NAME[:TAG|@DIGEST]...";

export const exportImages: Command = {
  help: `Usage: stowage export ${usage} [-o FILE] [OPTIONS]

Writes images as one tarball: an OCI layout with a manifest.json, which docker load,
podman load, ctr images import, skopeo and stowage load take. Without a tag, it is
latest. A blob that several images share is written once. The same images always give
the same bytes. Every blob is verified; a file appears when it is whole.

Options:
  -o, --output FILE  write this file, default "-": standard output
  --store URL        read this store, default STOWAGE_STORE, else file:./data
  --from URL         read a service or a registry, such as https://stowage.example,
                     or one image of a registry: docker://ghcr.io/acme/app:1
  --platform P       only this platform of an index, such as linux/arm64; repeatable
  --referrers        also signatures, attestations and bills of materials

A service gets STOWAGE_TOKEN, or the token in a URL such as
https://ci:TOKEN@stowage.example; it has to allow "pull". A registry gets what
"docker login" has kept.

Examples:
  stowage export team/app:1.4 | docker load
  stowage export team/app:1.4 team/db -o release.tar --store s3://my-bucket/images
  stowage export app --platform linux/arm64 --from https://stowage.example -o app.tar
  stowage export --from docker://alpine:3.20 -o alpine.tar
`,
  async run(args, io) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        output: { type: "string", short: "o", default: "-" },
        store: { type: "string" },
        from: { type: "string" },
        platform: { type: "string", multiple: true, default: [] },
        referrers: { type: "boolean", default: false },
      },
      allowPositionals: true,
    });
    const { store, from, referrers } = values;
    if (store !== undefined && from !== undefined) {
      throw new StowageError("INPUT_INVALID", "found both --store and --from, expected one of them");
    }
    const platforms = values.platform.map(parsePlatform);
    const isOneImage = from?.startsWith("docker://") === true;
    checkCount(
      positionals,
      isOneImage ? 0 : 1,
      isOneImage ? 0 : Number.POSITIVE_INFINITY,
      isOneImage ? `no ${usage} with docker://` : usage,
    );
    const names = isOneImage ? [readImageName(from.slice("docker://".length))] : positionals.map(readImageName);
    const output = await openOutput(values.output, io.stdout);
    try {
      const opened = await openSource(from ?? store, io);
      const images: WantedImage[] = [];
      for (const name of names) images.push(await findImage(opened, name, io));
      const plan = await planExport(opened.source, images, { platforms, referrers, signal: io.signal });
      await writeArchive(plan, opened, output, io);
      await output.commit();
      const what = names.map((name) => formatName(name)).join(", ");
      const files = formatCount(
        plan.blobs.reduce((sum, { manifests, blobs }) => sum + manifests.length + blobs.length, 0),
        "blob",
      );
      io.stderr.write(printable(`Exported ${what}: ${formatBytes(plan.size)}, ${files}, into ${output.name}\n`));
      return exitCodes.ok;
    } finally {
      await output.close();
    }
  },
};

function readImageName(text: string): ImageName {
  return readName(text, parseImageName);
}

async function findImage({ source, image }: OpenSource, name: ImageName, { signal }: CommandIo): Promise<WantedImage> {
  const { tag, digest } = name;
  const repository = image?.repository ?? name.repository;
  const found = await source.headManifest(repository, tag ?? digest ?? "", { signal });
  if (found !== undefined && (digest === undefined || digest === found.digest)) return { ...found, repository, name };
  throw new StowageError("MANIFEST_UNKNOWN", `Cannot find "${formatName(name)}" in ${source.name}`);
}

async function writeArchive(
  plan: ExportPlan,
  { source }: OpenSource,
  output: { readonly name: string; write(bytes: Uint8Array): Promise<void> },
  { stderr, signal }: CommandIo,
): Promise<void> {
  const title = `Exporting ${formatBytes(plan.size)} from ${source.name} into ${output.name}`;
  const progress = startProgress(stderr, { title, totalBytes: plan.size });
  try {
    for await (const chunk of packArchive(plan, openFrom(source, signal))) {
      signal.throwIfAborted();
      await output.write(chunk);
      progress.advance(chunk.length);
    }
  } finally {
    progress.stop();
  }
}
