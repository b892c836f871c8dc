/** Chooses the images of a source that patterns and counts name. */
import { isDigest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import type { ManifestIdentity } from "../oci/descriptor.ts";
import { isReferrersTag } from "../oci/index-entry.ts";
import { isPattern, matchesPattern } from "../oci/tag-pattern.ts";
import { isTag } from "../oci/reference.ts";
import type { ImageSource, ListedEntry } from "../remote/image-source.ts";
import { concurrently } from "../streams/concurrently.ts";

/** Repositories that are listed at the same time. */
const maxConcurrentLists = 8;

/** Names images: `team/app`, `team/**:v*`, `team/app@sha256:…`. */
export interface ImagePattern {
  /** A pattern of repository names. */
  readonly repository: string;
  /** A pattern of tags, or a digest. Without it, the pattern is for all images of the repositories. */
  readonly reference: string | undefined;
}

/** An image of the source. */
export interface SelectedImage {
  readonly repository: string;
  /** A tag or a digest. */
  readonly reference: string;
  /** The root, if the list of the repository told it. */
  readonly root?: ManifestIdentity | undefined;
}

/**
 * Reads a pattern such as `team/**:v*`. `*` fits any text, but no `/` of a repository's name. `**` fits any text.
 * Throws `INPUT_INVALID`.
 */
export function parseImagePattern(text: string): ImagePattern {
  const at = text.indexOf("@");
  const colon = text.indexOf(":", text.lastIndexOf("/") + 1);
  const end = at === -1 ? colon : at;
  const repository = end === -1 ? text : text.slice(0, end);
  const reference = end === -1 ? undefined : text.slice(end + 1);
  const isReference = at === -1 ? isTag((reference ?? "a").replaceAll("*", "a")) : isDigest(reference);
  if (isPattern(repository) && isReference) return { repository, reference };
  const expected = 'expected a name such as team/app:1.4, or a pattern such as "team/**:v*"';
  throw new StowageError("INPUT_INVALID", `Cannot use ${JSON.stringify(text)} to choose images: ${expected}`);
}

export interface SelectOptions {
  /** Without patterns, all images are chosen. */
  readonly patterns: readonly ImagePattern[];
  /** Of each repository, only this number of the chosen tags: the newest. */
  readonly latest?: number | undefined;
  /** With `false`, a signature or the like is chosen only if a pattern has its whole name. */
  readonly referrers?: boolean | undefined;
  /** Images of other repositories count as absent: a pattern tells nothing about them. */
  readonly mayRead?: ((repository: string) => boolean) | undefined;
  readonly signal: AbortSignal;
}

/**
 * Lists the chosen images, ordered by repository. A registry need not list its repositories if all patterns name them.
 * Throws `NAME_UNKNOWN` for a repository that a pattern names and the source lacks, and `MANIFEST_UNKNOWN` if a pattern
 * fits no image.
 */
export async function selectImages(source: ImageSource, options: SelectOptions): Promise<readonly SelectedImage[]> {
  const { patterns, latest, mayRead = () => true, signal } = options;
  const isNamed = patterns.length > 0 && patterns.every(({ repository }) => !repository.includes("*"));
  const all = isNamed
    ? [...new Set(patterns.map(({ repository }) => repository))]
    : await source.listRepositories({ signal });
  const repositories = all.filter(
    (name) => mayRead(name) && (patterns.length === 0 || patterns.some((it) => fitsName(it, name))),
  );
  const idle = new Set(patterns);
  const chosen: (readonly SelectedImage[])[] = [];
  await concurrently(repositories.entries(), maxConcurrentLists, async ([i, repository]) => {
    const fitting = await listFitting(source, repository, options);
    for (const pattern of idle) {
      if (fitting.some(({ reference }) => fits(pattern, { repository, reference }))) idle.delete(pattern);
    }
    const wanted = latest === undefined ? fitting : newest(fitting, latest);
    chosen[i] = wanted.map(({ reference, digest, mediaType, size }) => {
      const isKnown = digest !== undefined && mediaType !== undefined && size !== undefined;
      return { repository, reference, ...(isKnown && { root: { digest, mediaType, size } }) };
    });
  });
  for (const { repository, reference } of idle) {
    const text = `${repository}${formatted(reference)}`;
    throw new StowageError("MANIFEST_UNKNOWN", `Cannot find an image for ${JSON.stringify(text)} in ${source.name}`);
  }
  return chosen.flat();
}

/** An image whose whole name a pattern has need not be in the source's list: a registry lists no digests. */
async function listFitting(
  source: ImageSource,
  repository: string,
  { patterns, latest, referrers = true, signal }: SelectOptions,
): Promise<readonly ListedEntry[]> {
  const own = patterns.filter((pattern) => fitsName(pattern, repository));
  const exact = new Set(own.flatMap(({ reference = "*" }) => (reference.includes("*") ? [] : reference)));
  const isListed =
    own.length === 0 || latest !== undefined || own.some(({ reference = "*" }) => reference.includes("*"));
  if (!isListed) return [...exact].map((reference) => ({ reference }));
  const entries = await source.listEntries(repository, { signal });
  const fitting = entries.filter((entry) => {
    if (exact.delete(entry.reference)) return true;
    return isWanted(entry, referrers) && (own.length === 0 || own.some((it) => fits(it, { repository, ...entry })));
  });
  return [...fitting, ...[...exact].filter(isDigest).map((reference) => ({ reference }))];
}

/** A referrer without a tag comes along with its subject. */
function isWanted({ reference, subject }: ListedEntry, referrers: boolean): boolean {
  if (referrers) return subject === undefined || !isDigest(reference);
  return subject === undefined && !isReferrersTag(reference);
}

/**
 * A store knows when each tag was changed. Of a registry's tags, the highest versions count as the newest: 1.10 before
 * 1.9.
 */
function newest(entries: readonly ListedEntry[], count: number): readonly ListedEntry[] {
  const tags = entries.filter(({ reference }) => !isDigest(reference) && !isReferrersTag(reference));
  const order = new Intl.Collator("en", { numeric: true });
  const byAge = tags.toSorted((a, b) => (b.changed ?? 0) - (a.changed ?? 0) || order.compare(b.reference, a.reference));
  return byAge.slice(0, count);
}

function fitsName({ repository }: ImagePattern, name: string): boolean {
  return matchesPattern(repository, name);
}

function fits(pattern: ImagePattern, { repository, reference }: SelectedImage): boolean {
  if (!fitsName(pattern, repository)) return false;
  if (pattern.reference === undefined) return true;
  return isDigest(pattern.reference) ? pattern.reference === reference : matchesPattern(pattern.reference, reference);
}

function formatted(reference: string | undefined): string {
  return reference === undefined ? "" : isDigest(reference) ? `@${reference}` : `:${reference}`;
}
