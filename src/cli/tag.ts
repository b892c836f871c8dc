/** `stowage tag`: more names for an image that is in a store, in a service or in a registry. */
import { parseArgs } from "node:util";
import { StowageError } from "../errors.ts";
import type { Expectation } from "../oci/index-change.ts";
import { parseDigest, parseName } from "../oci/reference.ts";
import type { ManifestName } from "../registry/find-manifest.ts";
import { type NewName, type TaggedImage, tagImage } from "../registry/tag-image.ts";
import { type Command, type CommandIo, checkCount, checkOneTarget, exitCodes, readName } from "./command.ts";
import { formatChange, printable } from "./format.ts";
import { openExisting } from "./open-settings.ts";
import { openWritableRegistry } from "./open-registry.ts";
import { type TagChoices, tagInRegistry } from "./tag-in-registry.ts";

const usage = "IMAGE NEW...";

export const tag: Command = {
  help: `Usage: stowage tag ${usage} [--store URL | --to URL] [OPTIONS]

Gives IMAGE, which is NAME:TAG or NAME@DIGEST, the names NEW, each NAME:TAG. No byte
of a blob moves. A name that is at another image moves, unless it is protected. A NEW
in another repository gets the signatures and other referrers of IMAGE too, as
"stowage copy" does it.

Options:
  --store URL        in this store, default STOWAGE_STORE, else file:./data
  --to URL           in a running service, such as http://127.0.0.1:8080, or in any
                     registry
  --if-absent        only if no NEW is there yet
  --if-match DIGEST  only if each NEW is at this digest
  --no-referrers     without signatures, attestations and bills of materials
  --json             print the new names as JSON

In a store, the names of one repository come by one step, all or none. In a service
they come one after the other. The first error ends the command. Tags that
STOWAGE_IMMUTABLE_TAGS protects stay; a service has a setting of its own. A registry
that is no Stowage may ignore a condition: it is looked at just before as well.

A service gets STOWAGE_TOKEN if it asks for a token, or the token in its URL, which
has to allow "pull" and "load". A registry gets what "docker login" has kept.

Examples:
  stowage tag team/app:1.4 team/app:stable
  stowage tag team/app:1.4 release/app:1.4 --to https://stowage.example
  stowage tag team/app@sha256:ff92… team/app:1.4 --if-absent
`,
  async run(args, io) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        store: { type: "string" },
        to: { type: "string" },
        "if-absent": { type: "boolean", default: false },
        "if-match": { type: "string" },
        "no-referrers": { type: "boolean", default: false },
        json: { type: "boolean", default: false },
      },
      allowPositionals: true,
    });
    checkCount(positionals, 2, Number.POSITIVE_INFINITY, usage);
    const [first = "", ...others] = positionals;
    const image = readImage(first);
    const names = others.map(readNewName);
    const expects = expectationOf(values);
    const { json, "no-referrers": isAlone } = values;
    const tagThem = await openTarget(values, io);
    const tagged: TaggedImage[] = [];
    try {
      for await (const each of tagThem(image, names, { expects, referrers: !isAlone, signal: io.signal })) {
        tagged.push(each);
        if (!json) io.stdout.write(printable(`${formatChange({ ...each, reference: each.tag })}\n`));
      }
    } finally {
      if (json) io.stdout.write(`${JSON.stringify({ images: tagged }, undefined, 2)}\n`);
    }
    return exitCodes.ok;
  },
};

/** Yields each name once the image has it. */
type TagTarget = (image: ManifestName, names: readonly NewName[], choices: TagChoices) => AsyncIterable<TaggedImage>;

/** The store, service or registry that the options name, else the store of the settings. Throws `INPUT_INVALID`. */
async function openTarget(
  options: { readonly store?: string; readonly to?: string },
  io: CommandIo,
): Promise<TagTarget> {
  checkOneTarget(options);
  if (options.to !== undefined) {
    const registry = openWritableRegistry(options.to, io);
    return (...wanted) => tagInRegistry(registry, ...wanted);
  }
  const { layout, immutableTags } = await openExisting(io, options.store);
  return (image, names, choices) => tagImage(layout, image, names, { ...choices, immutableTags });
}

function readImage(text: string): ManifestName {
  const { repository, tag: named, digest } = readName(text, parseName);
  const reference = digest ?? named;
  if (reference !== undefined && (named === undefined || digest === undefined)) return { repository, reference };
  throw new StowageError("INPUT_INVALID", `found ${JSON.stringify(text)}, expected NAME:TAG or NAME@DIGEST`);
}

function readNewName(text: string): NewName {
  const { repository, tag: named, digest } = readName(text, parseName);
  if (named !== undefined && digest === undefined) return { repository, tag: named };
  throw new StowageError("INPUT_INVALID", `found ${JSON.stringify(text)} as the new name, expected NAME:TAG`);
}

function expectationOf(values: {
  readonly "if-absent": boolean;
  readonly "if-match"?: string;
}): Expectation | undefined {
  const { "if-absent": isAbsent, "if-match": digest } = values;
  if (digest === undefined) return isAbsent ? "absent" : undefined;
  if (isAbsent) throw new StowageError("INPUT_INVALID", "found --if-absent and --if-match, expected one of them");
  return { digest: readName(digest, parseDigest) };
}
