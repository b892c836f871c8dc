/** `stowage rm`: removes tags, and images by their digest, from a store or through a running service. */
import { parseArgs } from "node:util";
import { type Digest, isDigest } from "../digest.ts";
import { isTransient, messageOf, StowageError } from "../errors.ts";
import { formatReference, parseName } from "../oci/reference.ts";
import { deleteImage, emptyRepository } from "../registry/delete-image.ts";
import type { ManifestName } from "../registry/find-manifest.ts";
import { type Command, type CommandIo, checkCount, checkOneTarget, exitCodes, readName } from "./command.ts";
import { formatCount, printable } from "./format.ts";
import { openExisting } from "./open-settings.ts";
import { isPermanent, openService, Refusal } from "./send/service-client.ts";

const usage = "NAME:TAG|NAME@DIGEST|NAME...";

export const rm: Command = {
  help: `Usage: stowage rm ${usage} [--store URL | --to URL]

Removes a tag, or, by its digest, an image with all its tags. Bytes are not freed:
other images may need the same blobs. A part of an image for several platforms goes
with that image, and not before it; a tag that it has of its own can go. NAME alone
removes all images of a repository of a store. A digest is written whole, as
"stowage ls --json" prints it.

Options:
  --store URL   remove from this store, default STOWAGE_STORE, else file:./data
  --to URL      have a running service remove, such as http://127.0.0.1:8080

What cannot be removed is said, and the others are removed. Tags that
STOWAGE_IMMUTABLE_TAGS protects stay; a service has a setting of its own.

A service that wants a token gets STOWAGE_TOKEN, or the one in a URL such as
https://ci:TOKEN@stowage.example; it has to allow "delete".

Examples:
  stowage rm team/app:1.4
  stowage rm team/app:1.3 team/app:1.4 --store s3://my-bucket/images
  stowage rm team/app@sha256:ff92… --to https://stowage.example
`,
  async run(args, io) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { store: { type: "string" }, to: { type: "string" } },
      allowPositionals: true,
    });
    checkCount(positionals, 1, Number.POSITIVE_INFINITY, usage);
    const images = positionals.map(readImage);
    const target = await openRemoveTarget(values, io);
    const whole = images.find(({ reference }) => reference === undefined);
    if (whole !== undefined && target.empty === undefined) throw notByService(whole.repository);
    let failures = 0;
    for (const image of images) {
      try {
        io.stdout.write(printable(await removeFrom(target, image)));
      } catch (error) {
        if (!isAboutImage(error)) throw error;
        io.stderr.write(printable(`stowage rm: ${messageOf(error)}\n`));
        failures += 1;
      }
    }
    return failures === 0 ? exitCodes.ok : exitCodes.failed;
  },
};

async function removeFrom(target: RemoveTarget, image: Named): Promise<string> {
  const { repository, reference } = image;
  if (reference !== undefined)
    return describe({ repository, reference }, await target.remove({ repository, reference }));
  if (target.empty === undefined) throw notByService(repository);
  const count = await target.empty(repository);
  return `Removed all of ${repository}: ${formatCount(count, "image")}\n`;
}

function notByService(repository: string): StowageError {
  const message = `Cannot remove all of "${repository}" by way of a service: expected NAME:TAG or NAME@DIGEST, or --store`;
  return new StowageError("INPUT_INVALID", message);
}

/** An image, or a repository with all its images. */
type Named = ManifestName | { readonly repository: string; readonly reference?: undefined };

function readImage(text: string): Named {
  const { repository, tag, digest } = readName(text, parseName);
  if (tag !== undefined && digest !== undefined) {
    const message = `Cannot remove "${text}", which has a tag and a digest: expected NAME:TAG, NAME@DIGEST or NAME`;
    throw new StowageError("INPUT_INVALID", message);
  }
  const reference = tag ?? digest;
  return reference === undefined ? { repository } : { repository, reference };
}

function describe({ repository, reference }: ManifestName, digest: Digest | undefined): string {
  const name = formatReference(repository, reference);
  if (isDigest(reference)) return `Removed ${name} with all its tags\n`;
  return digest === undefined ? `Removed ${name}\n` : `Removed ${name} (${digest})\n`;
}

/**
 * Is the error only about this image? Otherwise the next image would fail too: the store or the service fails, or the
 * token is unknown.
 */
function isAboutImage(error: unknown): boolean {
  // a token may allow some repositories only
  if (error instanceof Refusal) return error.reason === "DENIED" || isPermanent(error);
  return error instanceof StowageError && !isTransient(error.code);
}

/** A store, in this process, or a running service. */
interface RemoveTarget {
  /** Removes a tag, or an image with all its tags by its digest. Returns the digest, if it is known. */
  remove(image: ManifestName): Promise<Digest | undefined>;
  /** Removes all images of a repository and returns their number. A service has no route for that. */
  empty?(repository: string): Promise<number>;
}

/** The store or service that the options name, else the store of the settings. Throws `INPUT_INVALID`. */
async function openRemoveTarget(
  options: { readonly store?: string; readonly to?: string },
  io: CommandIo,
): Promise<RemoveTarget> {
  checkOneTarget(options);
  return options.to === undefined ? storeTarget(options.store, io) : serviceTarget(options.to, io);
}

async function storeTarget(storeUrl: string | undefined, { env, signal }: CommandIo): Promise<RemoveTarget> {
  const { layout, immutableTags } = await openExisting({ env, signal }, storeUrl);
  return {
    remove: async (name) => {
      signal.throwIfAborted(); // only before a change begins
      return deleteImage(layout, name, { immutableTags, signal });
    },
    empty: async (repository) => {
      signal.throwIfAborted();
      return emptyRepository(layout, repository, { immutableTags, signal });
    },
  };
}

function serviceTarget(url: string, { env, signal }: CommandIo): RemoveTarget {
  const service = openService(url, { env, signal, purpose: "remove from" });
  return {
    remove: async ({ repository, reference }) => {
      const path = `v2/${repository}/manifests/${reference}`;
      const answer = await service.ask(path, { method: "DELETE", signal });
      const { status, headers } = answer;
      if (status >= 300) throw service.refused(answer);
      if (status !== 202) throw service.failed(`it answered ${status}, expected 202: is this a Stowage?`);
      const digest = headers.get("Docker-Content-Digest");
      return isDigest(digest) ? digest : undefined;
    },
  };
}
