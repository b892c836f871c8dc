/** Where referrers go to which an archive gives no name: beside what they say something about, where alone they are found. */
import { StowageError } from "../errors.ts";

/** What the archive lists. */
export interface ListedManifest {
  readonly digest: string;
  readonly subject: string | undefined;
  /** Undefined for a referrer without a name. */
  readonly repository: string | undefined;
}

/** Repositories in which such referrers are published, together. */
const maxHomes = 20_000;

/** By digest of a referrer without a name, the repositories of its subject. Throws `LIMIT_EXCEEDED`. */
export function homesOfReferrers(manifests: readonly ListedManifest[]): ReadonlyMap<string, ReadonlySet<string>> {
  const bySubject = new Map<string, string[]>();
  const places = new Map<string, readonly [digest: string, repository: string]>();
  const addPlace = (digest: string, repository: string): unknown =>
    places.set(`${repository}@${digest}`, [digest, repository]);
  for (const { digest, subject, repository } of manifests) {
    if (repository !== undefined) {
      addPlace(digest, repository);
    } else if (subject !== undefined) {
      const referrers = bySubject.get(subject) ?? [];
      bySubject.set(subject, referrers);
      referrers.push(digest);
    }
  }
  const homes = new Map<string, Set<string>>();
  let count = 0;
  // It grows while it is gone through: a referrer may have referrers.
  for (const [subject, repository] of places.values()) {
    for (const digest of bySubject.get(subject) ?? []) {
      const repositories = homes.get(digest) ?? new Set();
      if (repositories.has(repository)) continue;
      if (++count > maxHomes) throw tooManyHomes();
      homes.set(digest, repositories.add(repository));
      addPlace(digest, repository);
    }
  }
  return homes;
}

function tooManyHomes(): StowageError {
  const message = `Cannot load the archive: its referrers belong into more than ${maxHomes} places`;
  return new StowageError("LIMIT_EXCEEDED", message, { detail: { expected: maxHomes } });
}
