/**
 * Finds every blob that an image needs. The walk starts at the indexes of all repositories.
 *
 * A referrer without a tag, such as a signature, is only useful with its subject. It is an orphan if nothing leads to its
 * subject. The blobs of an orphan are needed as long as an index lists the orphan: a published image is always whole.
 */
import type { Digest } from "../digest.ts";
import { type ErrorCode, limitExceeded, messageOf, StowageError } from "../errors.ts";
import type { Layout } from "../layout/layout.ts";
import { listRepositories } from "../layout/list-repositories.ts";
import { successorsOf } from "../layout/read-manifest.ts";
import { type RepositoryIndex, checkFormat, readRepository } from "../layout/read-repository.ts";
import { listBlobs, readSmallBlob } from "../layout/blobs.ts";
import { type Descriptor, knownFields } from "../oci/descriptor.ts";
import { subjectOf, tagOf } from "../oci/index-entry.ts";
import { type Manifest, isManifestType, parseManifest } from "../oci/manifest.ts";
import { concurrently } from "../streams/concurrently.ts";
import { DigestSet } from "./digest-set.ts";

/** The most referrers that no visited manifest leads to so far. */
const maxWaiting = 100_000;
const tooManyReferrers = "Cannot remember all referrers whose subject is gone: there are too many";
/** Blobs that are checked in one batch: is each blob a manifest? */
const batchDigests = 1000;

export interface Needed {
  readonly digests: DigestSet;
  /** By the digest of an orphan: the repositories whose indexes list it. */
  readonly orphans: ReadonlyMap<string, readonly string[]>;
  /** Problems of damaged manifests. Each of these manifests may need any blob. */
  readonly damagedManifests: readonly StowageError[];
  /** Problems of indexes that cannot be read. They may name any manifest, so all manifests in the store are needed. */
  readonly damagedIndexes: readonly StowageError[];
}

/** Throws `LIMIT_EXCEEDED` if there are too many blobs to remember, `STORE_UNAVAILABLE`, and the errors of `checkFormat`. */
export async function findNeeded(layout: Layout, signal: AbortSignal | undefined): Promise<Needed> {
  const walk = new ManifestWalk(layout, signal);
  const waiting: UntaggedReferrer[] = [];
  const damagedIndexes: StowageError[] = [];
  for (const repository of await listRepositories(layout, { signal })) {
    const index = await readIfIntact(layout, repository, signal);
    if (index instanceof StowageError) {
      damagedIndexes.push(index);
      continue;
    }
    checkFormat(index, repository); // an index of a later format may need more than this version knows
    const { entries } = index;
    await walk.visit(entries.filter((entry) => subjectIn(entry) === undefined));
    const referrers = entries.flatMap((entry) => referrersIn(entry, repository));
    // A manifest of another repository may lead to the remaining referrers.
    for (const referrer of await visitReferrers(referrers, walk)) waiting.push(referrer);
    if (waiting.length > maxWaiting) throw limitExceeded(tooManyReferrers, { expected: maxWaiting });
  }
  if (damagedIndexes.length > 0) await visitAllManifests(layout, walk, signal);
  const orphans = await visitReferrers(waiting, walk);
  await walk.visit(
    orphans.map(({ entry }) => entry),
    { withSubjects: false },
  );
  const damagedManifests = [...walk.damaged.values()];
  return { digests: walk.needed, orphans: repositoriesByDigest(orphans), damagedManifests, damagedIndexes };
}

async function readIfIntact(
  layout: Layout,
  repository: string,
  signal: AbortSignal | undefined,
): Promise<RepositoryIndex | StowageError> {
  try {
    return await readRepository(layout, repository, { signal });
  } catch (error) {
    if (error instanceof StowageError && damageCodes.has(error.code)) return error;
    throw error;
  }
}

const damageCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["STORE_DAMAGED", "LIMIT_EXCEEDED"]);

async function visitAllManifests(
  { store, limits }: Layout,
  walk: ManifestWalk,
  signal: AbortSignal | undefined,
): Promise<void> {
  let batch: Digest[] = [];
  for await (const { digest, size } of listBlobs(store, { signal })) {
    if (size > limits.maxManifestBytes || walk.needed.has(digest)) continue;
    batch.push(digest);
    if (batch.length < batchDigests) continue;
    await walk.visitManifestsAmong(batch);
    batch = [];
  }
  await walk.visitManifestsAmong(batch);
}

/** An index entry with a subject and without a tag. */
interface UntaggedReferrer {
  readonly repository: string;
  readonly entry: Descriptor;
  readonly subject: Digest;
}

function referrersIn(entry: Descriptor, repository: string): UntaggedReferrer[] {
  const subject = subjectIn(entry);
  return subject === undefined ? [] : [{ repository, entry: knownFields(entry), subject }];
}

function subjectIn(entry: Descriptor): Digest | undefined {
  return tagOf(entry) === undefined ? subjectOf(entry) : undefined;
}

/** Visits the referrers of needed subjects, then the referrers of those, and so on. Returns all others. */
async function visitReferrers(
  referrers: readonly UntaggedReferrer[],
  walk: ManifestWalk,
): Promise<readonly UntaggedReferrer[]> {
  const isLedTo = ({ entry, subject }: UntaggedReferrer): boolean =>
    walk.needed.has(subject) || walk.needed.has(entry.digest);
  const ledTo = new Set(referrers.filter(isLedTo)); // computed before the visits: they add to `walk.needed`
  if (ledTo.size === 0) return referrers;
  await walk.visit([...ledTo].map(({ entry }) => entry));
  return visitReferrers(
    referrers.filter((referrer) => !ledTo.has(referrer)),
    walk,
  );
}

function repositoriesByDigest(referrers: readonly UntaggedReferrer[]): Map<Digest, string[]> {
  const byDigest = new Map<Digest, string[]>();
  for (const { repository, entry } of referrers) {
    byDigest.set(entry.digest, [...(byDigest.get(entry.digest) ?? []), repository]);
  }
  return byDigest;
}

/** Manifests that are read at the same time: each may have some mebibytes. */
const maxConcurrentReads = 16;

/** A visited manifest takes about 150 bytes of memory. */
const maxManifests = 1_000_000;
const tooManyManifests = "Cannot remember which manifests were read: there are too many";

/** Goes from manifest to manifest, and notes every blob on its way. */
class ManifestWalk {
  /** All manifests that were visited, and their blobs. */
  readonly needed = new DigestSet();
  /** By the digest of a manifest: why its needs are not known. */
  readonly damaged = new Map<Digest, StowageError>();
  readonly #layout: Layout;
  readonly #signal: AbortSignal | undefined;
  /**
   * By the digest of a manifest: does the store have it? Not a `DigestSet`: its rare mistakes could hide a manifest that was
   * not read.
   */
  readonly #seen = new Map<Digest, boolean>();

  constructor(layout: Layout, signal: AbortSignal | undefined) {
    this.#layout = layout;
    this.#signal = signal;
  }

  /**
   * Visits the manifests and everything below them. The manifests themselves must be in the store. Manifests that an index
   * names may be missing. With `withSubjects`, a manifest also needs its subject.
   */
  async visit(roots: readonly Descriptor[], { withSubjects } = { withSubjects: true }): Promise<void> {
    await concurrently(roots, maxConcurrentReads, async (root) => this.#visitTree(root, withSubjects));
    for (const { digest } of roots) {
      if (this.#seen.get(digest) === false) this.#note(digest, "an index names it, and it is not there");
    }
  }

  /** Visits each blob that is a manifest, as if an index named it. */
  async visitManifestsAmong(digests: readonly Digest[]): Promise<void> {
    await concurrently(digests, maxConcurrentReads, async (digest) => {
      if (this.#seen.has(digest)) return;
      const bytes = await this.#readBytes(digest);
      if (bytes !== undefined && isManifest(bytes, digest))
        await this.#visitTree({ digest, mediaType: "", size: 0 }, true);
    });
  }

  /**
   * Visits one manifest after the other, since an index can name very many. A root is read even if its media type is unknown.
   */
  async #visitTree(root: Descriptor, withSubjects: boolean): Promise<void> {
    const waiting = [root];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      this.needed.add(next.digest);
      if ((next !== root && !isManifestType(next.mediaType)) || this.#seen.has(next.digest)) continue;
      const manifest = await this.#read(next);
      if (manifest === undefined) continue;
      const { manifests, blobs, subject } = successorsOf(manifest);
      for (const { digest } of blobs) this.needed.add(digest);
      waiting.push(...manifests);
      if (withSubjects && subject !== undefined) waiting.push(subject);
    }
  }

  async #read({ digest, mediaType }: Descriptor): Promise<Manifest | undefined> {
    if (this.#seen.size === maxManifests) throw limitExceeded(tooManyManifests, { expected: maxManifests });
    this.#seen.set(digest, true); // set before the read, so that no other visit reads it
    const bytes = await this.#readBytes(digest);
    if (bytes === undefined && !this.damaged.has(digest)) this.#seen.set(digest, false);
    try {
      return bytes && parseManifest(bytes, digest, mediaType);
    } catch (error) {
      this.#note(digest, messageOf(error), error);
      return undefined;
    }
  }

  /** Returns undefined if the manifest is missing or damaged. */
  async #readBytes(digest: Digest): Promise<Uint8Array | undefined> {
    const { store, limits } = this.#layout;
    try {
      return await readSmallBlob(store, digest, { maxBytes: limits.maxManifestBytes, signal: this.#signal });
    } catch (error) {
      if (!(error instanceof StowageError) || error.code === "STORE_UNAVAILABLE") throw error;
      this.#note(digest, messageOf(error), error);
      return undefined;
    }
  }

  #note(digest: Digest, reason: string, cause?: unknown): void {
    const message = `Cannot tell what manifest "${digest}" needs: ${reason}`;
    this.damaged.set(digest, new StowageError("STORE_DAMAGED", message, { cause, detail: { digest } }));
  }
}

function isManifest(bytes: Uint8Array, digest: Digest): boolean {
  try {
    parseManifest(bytes, digest);
    return true;
  } catch (error) {
    if (error instanceof StowageError) return false;
    throw error;
  }
}
