/** `stowage ls`: the images of a store or a service, or all about one of them. */
import { parseArgs } from "node:util";
import { digestOfHex, hexOf, isAlgorithm, isDigest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { parseName, parseRepositoryName } from "../oci/reference.ts";
import { type Command, type CommandIo, checkCount, checkOneTarget, exitCodes, readName } from "./command.ts";
import { formatCount, printable } from "./format.ts";
import { formatImage, formatImages } from "./format-images.ts";
import {
  type ListedImage,
  type RepositoryEntry,
  detailed,
  listEntries,
  maxDetailed,
  resolveEntries,
} from "./list-entries.ts";
import type { ImagePlace } from "../registry/describe-image.ts";
import { openRegistry } from "./open-registry.ts";
import { openSource } from "./open-source.ts";

/** Characters in a line if the terminal does not report its width. A program that reads the output gets whole names. */
const usualColumns = 80;

const usage = "[NAME[:TAG|@DIGEST]]";

export const ls: Command = {
  help: `Usage: stowage ls ${usage} [--store URL | --to URL] [OPTIONS]

Lists the images of a store or a service, or of one of its repositories: size of
all blobs, day on which it was made, platforms. An image without a tag is shown by
its digest. A referrer is a signature, an attestation or the like: it says something
about another image. With a tag or a digest, it shows one image with its layers.

Options:
  --store URL   a store, default STOWAGE_STORE, else file:./data
  --to URL      a service or a registry, such as http://127.0.0.1:8080 or
                docker://ghcr.io/acme/app; it lists tags alone
  --details     read the manifests also of more than ${maxDetailed} images
  --json        print JSON instead

A service that wants a token gets STOWAGE_TOKEN, or the one in a URL such as
https://ci:TOKEN@stowage.example; it has to allow "pull". A registry gets what
"docker login" has kept.

Examples:
  stowage ls
  stowage ls team/app --store s3://my-bucket/images
  stowage ls team/app:1.4 --to https://stowage.example
  stowage ls --to docker://ghcr.io/acme/app:1
  stowage ls --json | jq -r '.images[] | .repository + "@" + .digest'
`,
  async run(args, io) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        store: { type: "string" },
        to: { type: "string" },
        details: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
      },
      allowPositionals: true,
    });
    checkCount(positionals, 0, 1, usage);
    const wanted = positionals[0] === undefined ? undefined : readWanted(positionals[0]);
    checkOneTarget(values);
    const { source, image } =
      values.to === undefined ? await openSource(values.store, io) : openRegistry(values.to, io);
    const place = { source, signal: io.signal };
    const { repository, start, ...named }: Partial<Wanted> = wanted ?? {
      ...image,
      reference: image?.digest ?? image?.tag,
    };
    if (repository === undefined) return listAll(place, repository, values, io);
    const reference = start === undefined ? named.reference : await wholeDigest(place, repository, start);
    if (reference === undefined) return listAll(place, repository, values, io);
    return listOne(place, { repository, reference }, values, io);
  },
};

interface ListFlags {
  readonly details: boolean;
  readonly json: boolean;
}

async function listAll(
  place: ImagePlace,
  repository: string | undefined,
  { details, json }: ListFlags,
  { stdout, stderr }: CommandIo,
): Promise<number> {
  const { source, signal } = place;
  const names = repository === undefined ? await source.listRepositories({ signal }) : [repository];
  const { entries, failures: unlisted } = await listEntries(place, names);
  const withDetails = details || entries.length <= maxDetailed;
  const resolved = json || withDetails ? await resolveEntries(place, entries, { withDetails }) : undefined;
  const failures = [...unlisted, ...(resolved?.failures ?? [])];
  if (json) {
    const images = resolved?.images ?? [];
    stdout.write(`${JSON.stringify({ images: images.map((image) => toJson(image)) }, undefined, 2)}\n`);
  } else if (entries.length > 0) {
    const columns = stdout.isTTY === true ? (stdout.columns ?? usualColumns) : undefined;
    stdout.write(printable(formatImages(resolved?.images ?? entries, columns)));
  } else if (failures.length === 0) stderr.write(`There are no images in ${repository ?? source.name}\n`);
  if (!withDetails) {
    stderr.write(`${formatCount(entries.length, "image")}: what each is takes reading it, which --details does\n`);
  }
  for (const { message } of failures) stderr.write(printable(`stowage ls: ${message}\n`));
  return failures.length === 0 ? exitCodes.ok : exitCodes.failed;
}

async function listOne(
  place: ImagePlace,
  { repository, reference }: RepositoryEntry,
  { json }: ListFlags,
  { stdout }: CommandIo,
): Promise<number> {
  const { source, signal } = place;
  const identity = await source.headManifest(repository, reference, { signal });
  const image = await detailed(place, { repository, reference, ...identity });
  if (image === undefined) {
    await source.listEntries(repository, { signal }); // throws if there is no such repository
    throw notFound(repository, reference);
  }
  const text = `${JSON.stringify({ images: [toJson(image, { whole: true })] }, undefined, 2)}\n`;
  stdout.write(json ? text : printable(formatImage(image)));
  return exitCodes.ok;
}

interface Wanted {
  readonly repository: string;
  /** A tag or a digest. */
  readonly reference?: string | undefined;
  /** The first hex digits of a digest, perhaps behind its algorithm. */
  readonly start?: string;
}

function readWanted(text: string): Wanted {
  const at = text.indexOf("@");
  if (at === -1) {
    const { repository, tag } = readName(text, parseName);
    return tag === undefined ? { repository } : { repository, reference: tag };
  }
  const repository = readName(text.slice(0, at), parseRepositoryName);
  const start = text.slice(at + 1);
  const digest = isDigest(start) ? start : digestOfHex(start);
  if (digest !== undefined) return { repository, reference: digest };
  const [isStart, algorithm] = /^(?:(\w+):)?[0-9a-f]{6,}$/.exec(start) ?? [];
  if (isStart !== undefined && (algorithm === undefined || isAlgorithm(algorithm))) return { repository, start };
  const found = JSON.stringify(start);
  throw new StowageError("INPUT_INVALID", `found ${found} as a digest, expected at least its first 6 hex digits`);
}

/** Completes a short digest, as in the table, from the list of the repository. */
async function wholeDigest({ source, signal }: ImagePlace, repository: string, start: string): Promise<string> {
  const entries = await source.listEntries(repository, { signal });
  const fitting = entries
    .flatMap(({ digest }) => digest ?? [])
    .filter((digest) => digest.startsWith(start) || hexOf(digest).startsWith(start));
  const [digest, ...others] = new Set(fitting);
  if (digest === undefined) throw notFound(repository, start);
  if (others.length === 0) return digest;
  const message = `"${start}" is the beginning of ${others.length + 1} digests: write more of it`;
  throw new StowageError("INPUT_INVALID", message);
}

function notFound(repository: string, reference: string): StowageError {
  return new StowageError("MANIFEST_UNKNOWN", `Cannot find ${JSON.stringify(reference)} in ${repository}`);
}

/**
 * The image as JSON, with the field names of a load's receipt. Scripts read these fields, so none may be removed.
 * `whole` adds the layers.
 */
function toJson({ details, ...image }: ListedImage, { whole = false } = {}): object {
  if (details === undefined) return image;
  const { totalSize, platforms, created, layers, manifests } = details;
  return {
    ...image,
    totalSize,
    platforms,
    ...(created !== undefined && { created }),
    ...(whole && layers !== undefined && { layers }),
    ...(whole && manifests !== undefined && { manifests }),
  };
}
