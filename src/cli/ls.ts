/** `stowage ls`: the images of a store, by one request for each repository. */
import { parseArgs } from "node:util";
import { StowageError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { parseRepositoryName } from "../oci/reference.ts";
import { subjectOf, tagOf } from "../oci/repository-index.ts";
import { listRepositories } from "../pull/list-repositories.ts";
import { readRepository } from "../pull/read-repository.ts";
import type { CallOptions, ObjectStore } from "../storage/object-store.ts";
import { checkCount, readName } from "./arguments.ts";
import { type Command, exitCodes } from "./command.ts";
import { printable } from "./format.ts";
import { openExisting } from "./open-settings.ts";
import { formatTable } from "./table.ts";

/** Repositories that are read at the same time. */
const maxConcurrentReads = 16;

export const ls: Command = {
  summary: "list the images of a store",
  help: `Usage: stowage ls [REPOSITORY] [--store URL] [--json]

Lists the images of a store, or of one of its repositories. An image without a tag,
shown as "-", is found by its digest alone. A referrer is a signature, an attestation
or the like: it says something about another image.

Options:
  --store URL   the store, default STOWAGE_STORE, else file:./data
  --json        print a list of images as JSON instead of a table

Examples:
  stowage ls
  stowage ls team/app --store s3://my-bucket/images
  stowage ls --json | jq -r '.images[] | .repository + "@" + .digest'
`,
  async run(args, { env, stdout, stderr, signal }) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { store: { type: "string" }, json: { type: "boolean" } },
      allowPositionals: true,
    });
    checkCount(positionals, { min: 0, max: 1, usage: "[REPOSITORY]" });
    const repository = positionals[0] === undefined ? undefined : readName(positionals[0], parseRepositoryName);
    const { store } = await openExisting({ env, signal }, values.store);
    const names = repository === undefined ? await listRepositories(store, { signal }) : [repository];
    const { images, failures } = await listImages(store, names, { signal });

    if (values.json === true) stdout.write(`${JSON.stringify({ images }, undefined, 2)}\n`);
    else if (images.length > 0) stdout.write(printable(formatTable(toRows(images))));
    else if (failures.length === 0) stderr.write(`There are no images in ${repository ?? store.url}\n`);
    for (const { message } of failures) stderr.write(printable(`stowage ls: ${message}\n`));
    return failures.length === 0 ? exitCodes.ok : exitCodes.failed;
  },
};

/** Named as in a load's receipt. */
interface ListedImage {
  readonly repository: string;
  /** Its tag, or its digest where it has none. */
  readonly reference: string;
  readonly digest: string;
  readonly mediaType: string;
  /** Length of the manifest in bytes. */
  readonly size: number;
  /** Of a referrer, the digest of what it says something about. */
  readonly subject?: string;
}

interface Listing {
  readonly images: readonly ListedImage[];
  /** What is wrong with repositories that are damaged: they hide no others. */
  readonly failures: readonly StowageError[];
}

async function listImages(store: ObjectStore, names: readonly string[], options: CallOptions): Promise<Listing> {
  const images: ListedImage[] = [];
  const failures: StowageError[] = [];
  for (let i = 0; i < names.length; i += maxConcurrentReads) {
    const batch = names.slice(i, i + maxConcurrentReads);
    for (const result of await Promise.all(batch.map((name) => readImages(store, name, options)))) {
      if (result instanceof StowageError) failures.push(result);
      else images.push(...result);
    }
  }
  return { images, failures };
}

async function readImages(
  store: ObjectStore,
  repository: string,
  options: CallOptions,
): Promise<ListedImage[] | StowageError> {
  try {
    const { entries } = await readRepository(store, repository, options);
    return entries.map((entry) => toImage(repository, entry)).toSorted(byReference);
  } catch (error) {
    if (error instanceof StowageError && isDamage(error)) return error;
    throw error;
  }
}

function isDamage({ code }: StowageError): boolean {
  return code === "STORE_DAMAGED" || code === "LIMIT_EXCEEDED";
}

function toImage(repository: string, entry: Descriptor): ListedImage {
  const { digest, mediaType, size } = entry;
  const subject = subjectOf(entry);
  const reference = tagOf(entry) ?? digest;
  return { repository, reference, digest, mediaType, size, ...(subject !== undefined && { subject }) };
}

function byReference(a: ListedImage, b: ListedImage): number {
  return a.reference < b.reference ? -1 : a.reference > b.reference ? 1 : 0;
}

function toRows(images: readonly ListedImage[]): string[][] {
  const rows = images.map(({ repository, reference, digest, mediaType, subject }) => [
    repository,
    reference === digest ? "-" : reference,
    subject === undefined ? kindOf(mediaType) : "referrer",
    digest,
  ]);
  return [["REPOSITORY", "TAG", "KIND", "DIGEST"], ...rows];
}

/** `index`: one image for several platforms. */
function kindOf(mediaType: string): string {
  return /image\.index|manifest\.list/.test(mediaType) ? "index" : "image";
}
