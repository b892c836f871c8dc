/**
 * The publishing half of a load: all blobs are in the store, and nothing can be seen yet. What the archive names is checked
 * to be whole, then published under its names, together with what refers to it.
 */
import { messageOf, StowageError } from "../errors.ts";
import { type ClosedRoot, type ClosureOptions, checkClosure } from "../layout/check-closure.ts";
import { type RepositoryChanges, checkSet, commitSet } from "../layout/commit-set.ts";
import type { RescuingStore } from "../layout/condemned.ts";
import { FoundReferrers } from "../layout/found-referrers.ts";
import type { Layout } from "../layout/layout.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { ChangeOutcome, Expectation, SetChange } from "../oci/index-change.ts";
import { type ImageName, formatReference } from "../oci/reference.ts";
import { type TagPattern, tagPatternsOf } from "../oci/tag-pattern.ts";
import { type DockerNames, addDockerNames } from "./docker-names.ts";
import { type ArchiveIndex, joinPlatforms } from "./join-platforms.ts";
import { keepClosed } from "./keep-closed.ts";
import { type NamedRoot, nameRoots } from "./name-roots.ts";
import type { ImageReceipt } from "./receipt.ts";

/** Each is a commit of its own, one after the other. */
const maxRepositories = 1000;

/** Characters of an unusable tag that a receipt shows. */
const maxTagCharacters = 300;

export interface PublishOptions extends Omit<ClosureOptions, "referrers" | "manifests" | "configOwners" | "storeBlob"> {
  /** The layout, as the load sees it. */
  readonly layout: Layout<RescuingStore>;
  readonly caller: string | undefined;
  /** The archive's own index; a docker-archive has none. */
  readonly index: ArchiveIndex | undefined;
  /** The names of a `manifest.json` beside it. */
  readonly dockerNames: DockerNames | undefined;
  /** Brings a blob into the store that the archive has in no file of its own. */
  readonly storeBlob: (bytes: Uint8Array, digest: string) => Promise<void>;
  /** What the image is to be called, whatever the archive says. */
  readonly name: ImageName | undefined;
  /** What the tag has to be at before it moves. */
  readonly expects: Expectation | undefined;
  readonly immutableTags: readonly TagPattern[];
  /** May whoever loads publish in this repository? Without it they may in all. */
  readonly mayPublish: ((repository: string) => boolean) | undefined;
  readonly signal: AbortSignal;
}

/**
 * Checks that every image is whole, then publishes them: all of one repository in one conditional write. Throws what
 * `checkClosure`, `nameRoots`, `keepClosed` and `commitSet` do, `LIMIT_EXCEEDED` if there are too many repositories, and
 * `DENIED`; if some of several repositories were published before, the error says which.
 */
export async function publishImages(roots: readonly Descriptor[], options: PublishOptions): Promise<ImageReceipt[]> {
  const referrers = new FoundReferrers();
  const manifests = new Set<string>();
  const closed = await closeRoots(roots, { ...options, referrers, manifests });
  const images = nameRoots(closed, options.name);
  const repositories = [...new Set(images.map((image) => image.repository))];
  checkRepositories(repositories, options);
  const publications = repositories.map((repository): Publication => {
    const named = images.filter((image) => image.repository === repository);
    const immutableTags = tagPatternsOf(options.immutableTags, repository);
    return { named, set: { repository, changes: changesFor(named, { ...options, referrers }), immutableTags } };
  });
  if (publications.length > 1) {
    // A tag that may not move keeps the others back as well, unless it comes to be there meanwhile.
    for (const { set } of publications) await checkSet(options.layout, set, options);
  }
  const receipts: ImageReceipt[] = [];
  for (const { named, set } of publications) {
    await keepClosed(closed, { ...options, repository: set.repository, manifests });
    options.signal.throwIfAborted(); // not from here on: nobody must be left in doubt whether their load was published
    const outcomes = await commitSet(options.layout, set, options).catch((error: unknown) => {
      throw receipts.length === 0 ? error : publishedInPart(error, receipts);
    });
    receipts.push(...named.map((root, i) => receiptFor(root, outcomes[i])));
  }
  return receipts;
}

/** The images to be named: the roots with what a `manifest.json` calls them, several platforms of one image as one. */
async function closeRoots(
  roots: readonly Descriptor[],
  options: PublishOptions & Pick<ClosureOptions, "referrers" | "manifests">,
): Promise<readonly ClosedRoot[]> {
  const { index, dockerNames = new Map<string, never>(), name } = options;
  const configOwners = new Map<string, string | undefined>(
    [...dockerNames.keys()].map((config) => [config, undefined]),
  );
  const found = await checkClosure(roots, { ...options, configOwners });
  const closed = addDockerNames(found, dockerNames, configOwners);
  if (index === undefined) return closed;
  const joined = await joinPlatforms(closed, { requested: name, index, storeBlob: options.storeBlob });
  return joined === undefined ? closed : checkClosure(joined, options);
}

/** What goes into one repository. */
interface Publication {
  readonly named: readonly NamedRoot[];
  readonly set: RepositoryChanges;
}

function checkRepositories(repositories: readonly string[], { mayPublish }: PublishOptions): void {
  if (repositories.length > maxRepositories) throw tooManyRepositories(repositories.length);
  const denied = repositories.filter((repository) => mayPublish?.(repository) === false);
  if (denied.length > 0) throw mayNotPublish(denied);
}

function tooManyRepositories(found: number): StowageError {
  return new StowageError(
    "LIMIT_EXCEEDED",
    `Cannot publish in ${found} repositories at once, at most ${maxRepositories} are allowed`,
    { detail: { found, expected: maxRepositories } },
  );
}

function mayNotPublish(denied: readonly string[]): StowageError {
  const message = `Cannot publish in "${denied.join('", "')}": whoever loads may not; nothing was published`;
  return new StowageError("DENIED", message, { detail: { action: "load", names: denied } });
}

/** One for each image, in their order, then one for each referrer below them that is none itself. */
function changesFor(
  named: readonly NamedRoot[],
  { referrers, name, expects }: { readonly referrers: FoundReferrers } & Pick<PublishOptions, "name" | "expects">,
): SetChange[] {
  const roots = new Set(named.map(({ digest }) => digest));
  const images = named.map(({ tag, mediaType, digest, size }): SetChange => {
    const { subject, artifactType } = referrers.get(digest) ?? {};
    const condition = tag === name?.tag ? expects : undefined; // of what goes along with the image nothing was said
    return { op: "set", tag, mediaType, digest, size, artifactType, subject, expects: condition };
  });
  const below = referrers.below(roots).filter(({ digest }) => !roots.has(digest));
  return [...images, ...below.map((referrer): SetChange => ({ op: "set", ...referrer }))];
}

/** Repositories are published one after the other: what was published before one of them failed has to be said. */
function publishedInPart(error: unknown, receipts: readonly ImageReceipt[]): StowageError {
  const published = receipts.map(({ repository, reference }) => formatReference(repository, reference));
  const code = error instanceof StowageError ? error.code : "STORE_UNAVAILABLE";
  const message = `${messageOf(error)}; published already: ${published.join(", ")}`;
  return new StowageError(code, message, { cause: error, detail: { published } });
}

function receiptFor(root: NamedRoot, outcome: ChangeOutcome = { status: "unchanged" }): ImageReceipt {
  const { repository, tag, digest, mediaType, size, absent, unusableTag } = root;
  const reference = tag ?? digest;
  return {
    repository,
    reference,
    digest,
    mediaType,
    size,
    ...outcome,
    ...(absent.length > 0 && { absent }),
    ...(unusableTag !== undefined && { unusableTag: unusableTag.slice(0, maxTagCharacters) }),
  };
}
