/**
 * Finds every blob that an image needs, by way of all indexes.
 *
 * A referrer without a tag, such as a signature, is there for its subject's sake: once nothing leads to its subject any more
 * it is an orphan. An orphan's blobs are needed for as long as an index has it: nothing that is published is ever in parts.
 */
import { StowageError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { type Descriptor, knownFields } from "../oci/descriptor.ts";
import { checkFormat, subjectOf, tagOf } from "../oci/repository-index.ts";
import { listRepositories } from "../pull/list-repositories.ts";
import { readRepository } from "../pull/read-repository.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import type { DigestSet } from "./digest-set.ts";
import { ManifestWalk } from "./manifest-walk.ts";

/** Referrers to which nothing leads that has been visited so far. */
const maxWaiting = 100_000;

export interface FindNeededOptions {
  readonly store: ObjectStore;
  readonly limits: Pick<Limits, "maxManifestBytes">;
  readonly signal?: AbortSignal | undefined;
}

export interface Needed {
  readonly digests: DigestSet;
  /** By the digest of an orphan, the repositories whose indexes have it. */
  readonly orphans: ReadonlyMap<string, readonly string[]>;
}

/**
 * Throws `STORE_DAMAGED` for an index or a manifest that is missing or cannot be read, since nobody knows what it needs, what
 * `checkFormat` does, and `LIMIT_EXCEEDED` if there are too many blobs to keep in mind.
 */
export async function findNeeded(options: FindNeededOptions): Promise<Needed> {
  const walk = new ManifestWalk(options);
  const waiting: Referrer[] = [];
  for (const repository of await listRepositories(options.store, options)) {
    const index = await readRepository(options.store, repository, options);
    checkFormat(index, repository); // an index of a later format may need more than this version knows
    const { entries } = index;
    await walk.visit(entries.filter((entry) => subjectIn(entry) === undefined));
    const referrers = entries.flatMap((entry) => referrersIn(entry, repository));
    // Something in another repository may lead to the others.
    for (const referrer of await visitReferrers(referrers, walk)) waiting.push(referrer);
    if (waiting.length > maxWaiting) throw tooManyReferrers();
  }
  const orphans = await visitReferrers(waiting, walk);
  await walk.visit(
    orphans.map(({ entry }) => entry),
    { withSubjects: false },
  );
  return { digests: walk.needed, orphans: repositoriesByDigest(orphans) };
}

/** An entry of an index that is there for its subject's sake alone. */
interface Referrer {
  readonly repository: string;
  readonly entry: Descriptor;
  readonly subject: string;
}

function referrersIn(entry: Descriptor, repository: string): Referrer[] {
  const subject = subjectIn(entry);
  return subject === undefined ? [] : [{ repository, entry: knownFields(entry), subject }];
}

function subjectIn(entry: Descriptor): string | undefined {
  return tagOf(entry) === undefined ? subjectOf(entry) : undefined;
}

/** Visits those to whose subject something leads, and then those whose subjects they are. Returns all others. */
async function visitReferrers(referrers: readonly Referrer[], walk: ManifestWalk): Promise<readonly Referrer[]> {
  const isLedTo = ({ entry, subject }: Referrer): boolean => walk.needed.has(subject) || walk.needed.has(entry.digest);
  const ledTo = new Set(referrers.filter(isLedTo)); // before they are visited, and more with them
  if (ledTo.size === 0) return referrers;
  await walk.visit([...ledTo].map(({ entry }) => entry));
  return visitReferrers(
    referrers.filter((referrer) => !ledTo.has(referrer)),
    walk,
  );
}

function repositoriesByDigest(referrers: readonly Referrer[]): Map<string, string[]> {
  const byDigest = new Map<string, string[]>();
  for (const { repository, entry } of referrers) {
    byDigest.set(entry.digest, [...(byDigest.get(entry.digest) ?? []), repository]);
  }
  return byDigest;
}

function tooManyReferrers(): StowageError {
  const message = `Cannot keep in mind all referrers whose subject is gone: there are more than ${maxWaiting}`;
  return new StowageError("LIMIT_EXCEEDED", message, { detail: { expected: maxWaiting } });
}
