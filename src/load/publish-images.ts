/**
 * The second half of a load. All blobs are in the store, and nothing is published yet. This half checks that every
 * image is whole, and publishes the images under their names, with their referrers.
 */
import { limitExceeded, messageOf, StowageError } from "../errors.ts";
import { type CheckedClosure, checkClosure } from "../layout/check-closure.ts";
import { type RepositoryUpdate, checkUpdate } from "../layout/update-repository.ts";
import { type NamedImage, changesFor, publish } from "../layout/publish.ts";
import { maxListed } from "../limits.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { ChangeOutcome } from "../oci/index-change.ts";
import { formatReference } from "../oci/reference.ts";
import { type DockerNames, addDockerNames } from "./docker-names.ts";
import { type ArchiveIndex, joinPlatforms } from "./join-platforms.ts";
import type { RunningLoad } from "./running-load.ts";
import { type NamedRoot, nameRoots } from "./name-roots.ts";
import type { ImageReceipt } from "./receipt.ts";

/** Characters of an unusable tag that a receipt shows. */
const maxTagCharacters = 300;

/** An archive whose blobs are all in the store. Nothing of it is published. */
export interface StoredArchive {
  readonly roots: readonly Descriptor[];
  /** The archive's own index; a docker-archive has none. */
  readonly index: ArchiveIndex | undefined;
  /** The names of a `manifest.json` beside the index. */
  readonly dockerNames: DockerNames | undefined;
}

interface PublishedImages {
  readonly images: readonly ImageReceipt[];
  /** The number of the images' referrers that the load has added to the index of a repository. */
  readonly referrers: number;
}

/**
 * Checks that every image is whole, then publishes all images of one repository in one conditional write. Throws the
 * errors of `checkClosure`, `nameRoots` and `publish`, `LIMIT_EXCEEDED` if there are too many repositories, and
 * `DENIED`. If some repositories were published before the error, the error names their images.
 */
export async function publishImages(load: RunningLoad, archive: StoredArchive): Promise<PublishedImages> {
  const { layout, json } = load;
  const closure = await checkRoots(load, archive);
  const images = nameRoots(closure.roots, load.name);
  const expires = endAfter(load);
  const repositories = [...new Set(images.map((image) => image.repository))];
  checkRepositories(load, repositories);
  const publications = repositories.map((repository): Publication => {
    const named = images.filter((image) => image.repository === repository);
    const changes = changesFor(
      named.map((root) => ({ ...withCondition(root, load), expires })),
      closure,
    );
    return { named, update: { repository, changes, immutableTags: load.immutableTags } };
  });
  if (publications.length > 1) {
    // If an immutable tag would move in one repository, nothing is published in any of them. A tag that another writer
    // makes after this check is found only by the commit.
    for (const { update } of publications) await checkUpdate(layout, update, load);
  }
  const receipts: ImageReceipt[] = [];
  let referrers = 0;
  for (const { named, update } of publications) {
    const outcomes = await publish(layout, closure, update, json).catch((error: unknown) => {
      throw receipts.length === 0 ? error : publishedInPart(error, receipts);
    });
    receipts.push(...named.map((root, i) => ({ ...receiptFor(root, outcomes[i]), ...(expires && { expires }) })));
    referrers += outcomes.slice(named.length).filter(({ status }) => status !== "unchanged").length;
  }
  return { images: receipts, referrers };
}

/** When the images end, in whole seconds. */
function endAfter({ expiresInMs, layout: { clock } }: RunningLoad): string | undefined {
  if (expiresInMs === undefined) return undefined;
  return new Date(Math.ceil((clock.now() + expiresInMs) / 1000) * 1000).toISOString();
}

/** Checks the closure of the roots. Adds the names in `manifest.json`, and joins the platforms of one image. */
async function checkRoots(load: RunningLoad, { roots, index, dockerNames }: StoredArchive): Promise<CheckedClosure> {
  const { layout, json, intake: known } = load;
  const storeInlined = load.storeExtraBlob.bind(load);
  const names: DockerNames = dockerNames ?? new Map();
  const found = await checkClosure(layout, roots, { json, known, storeInlined, configs: names.keys() });
  const closure = { ...found, roots: addDockerNames(found.roots, names, found.rootOfConfig) };
  const joined = index && (await joinPlatforms(load, closure.roots, index));
  return joined === undefined ? closure : checkClosure(layout, joined, { json, known, storeInlined });
}

/** The images of one repository. */
interface Publication {
  readonly named: readonly NamedRoot[];
  readonly update: RepositoryUpdate;
}

/**
 * Limits the number of repositories, because each takes a commit of its own. Throws `DENIED` if the caller may not
 * publish in one.
 */
function checkRepositories({ mayPublish }: RunningLoad, repositories: readonly string[]): void {
  const found = repositories.length;
  if (found > maxListed) {
    throw limitExceeded(`Cannot publish in ${found} repositories at once`, { found, expected: maxListed });
  }
  const denied = repositories.filter((repository) => !mayPublish(repository));
  if (denied.length === 0) return;
  const message = `Cannot publish in "${denied.join('", "')}": the caller may not; nothing was published`;
  throw new StowageError("DENIED", message, { detail: { action: "load", names: denied } });
}

/** The condition is only for the image that the request names, not for its signatures. */
function withCondition(root: NamedRoot, { name, expects }: RunningLoad): NamedImage {
  return { ...root, expects: root.tag === name?.tag ? expects : undefined };
}

/** Adds the images that were published before the error: repositories are published one after the other. */
function publishedInPart(error: unknown, receipts: readonly ImageReceipt[]): StowageError {
  const published = receipts.map(({ repository, reference }) => formatReference(repository, reference));
  const code = error instanceof StowageError ? error.code : "STORE_UNAVAILABLE";
  const message = `${messageOf(error)}; published already: ${published.join(", ")}`;
  return new StowageError(code, message, { cause: error, detail: { published } });
}

function receiptFor(root: NamedRoot, outcome: ChangeOutcome | undefined): ImageReceipt {
  if (outcome === undefined) throw new TypeError(`expected an outcome of the change of "${root.digest}"`);
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
