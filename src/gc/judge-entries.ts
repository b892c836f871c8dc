/** Tells which rule keeps or drops each image of a repository. Pure: it changes nothing. */
import type { Digest } from "../digest.ts";
import { changeTimeOf } from "../layout/read-repository.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { endOf, expiresAnnotation, tagOf } from "../oci/index-entry.ts";
import { formatReference } from "../oci/reference.ts";
import type { RetentionRule } from "../settings/parse-retention.ts";
import { matchesPattern } from "../oci/tag-pattern.ts";

/** What becomes of an image, and why. */
export interface Verdict {
  readonly repository: string;
  /** A tag, or the digest of an image without a tag. */
  readonly reference: string;
  readonly digest: Digest;
  readonly decision: "kept" | "dropped";
  /** The place of the rule in the list, from 1. Undefined if no rule has decided. */
  readonly rule?: number | undefined;
  readonly reason: string;
}

/** Example: `dropped ci/app:41: rule 2, not among the latest 10, changed 3d ago`. */
export function describeVerdict({ repository, reference, decision, rule, reason }: Verdict): string {
  const because = rule === undefined ? reason : `rule ${rule}, ${reason}`;
  return `${decision} ${formatReference(repository, reference)}: ${because}`;
}

/** An entry of an index, with its verdict. */
export interface JudgedEntry {
  readonly entry: Descriptor;
  readonly verdict: Verdict;
}

/** What the images of one repository are judged by. */
export interface RetentionScope {
  readonly repository: string;
  readonly rules: readonly RetentionRule[];
  /** The time at which the ages are taken, in milliseconds since 1970. */
  readonly now: number;
}

/**
 * An image whose end is over is dropped. For any other image, the first rule that fits decides. An image that fits no
 * rule is kept. An image is also kept if a rule needs its age and another tool has written its entry, so that its age
 * is not known.
 */
export function judgeEntries(
  entries: readonly Descriptor[],
  { repository, rules, now }: RetentionScope,
): JudgedEntry[] {
  const own = rules.map(({ repositories }) => repositories.some((pattern) => matchesPattern(pattern, repository)));
  const places = entries.map((entry) =>
    hasEnded(entry, now) ? none : rules.findIndex((rule, i) => own[i] === true && fits(rule, tagOf(entry))),
  );
  const ranks = rankByRule(entries, places);
  return entries.map((entry, i) => {
    const judge = (decision: Verdict["decision"], reason: string, rule?: number): JudgedEntry => ({
      entry,
      verdict: {
        repository,
        reference: tagOf(entry) ?? entry.digest,
        digest: entry.digest,
        decision,
        ...(rule !== undefined && { rule }),
        reason,
      },
    });
    if (hasEnded(entry, now)) return judge("dropped", `its end was ${entry.annotations?.[expiresAnnotation]}`);
    const place = places[i] ?? none;
    const rule = rules[place];
    if (rule === undefined) return judge("kept", "no rule fits");
    if (rule.drops === undefined) return judge("kept", "always", place + 1);
    const time = changeTimeOf(entry);
    if (time === undefined) return judge("kept", "its age is not known", place + 1);
    const { keepLatest = 0, olderThanMs } = rule.drops;
    if ((ranks.get(entry) ?? 0) < keepLatest) return judge("kept", `among the latest ${keepLatest}`, place + 1);
    const age = `changed ${ageOf(now - time)} ago`;
    if (olderThanMs !== undefined && now - time <= olderThanMs) return judge("kept", age, place + 1);
    const reasons = [...(keepLatest > 0 ? [`not among the latest ${keepLatest}`] : []), age];
    return judge("dropped", reasons.join(", "), place + 1);
  });
}

/** The place of the rule if no rule fits. */
const none = -1;

/** Is the end of the entry's image over? */
export function hasEnded(entry: Descriptor, now: number): boolean {
  const end = endOf(entry);
  return end !== undefined && end <= now;
}

function fits({ fits: wanted }: RetentionRule, tag: string | undefined): boolean {
  if (wanted === "untagged" || tag === undefined) return wanted === "untagged" && tag === undefined;
  return wanted.some((pattern) => matchesPattern(pattern, tag));
}

/**
 * By entry: the number of later entries that the same rule decides about. Entries whose age is not known do not count.
 */
function rankByRule(entries: readonly Descriptor[], places: readonly number[]): ReadonlyMap<Descriptor, number> {
  const latestFirst = entries
    .map((entry, i) => ({ entry, i, place: places[i] ?? none, time: changeTimeOf(entry) }))
    .filter((it) => it.time !== undefined)
    .toSorted((a, b) => (b.time ?? 0) - (a.time ?? 0) || b.i - a.i);
  const counts = new Map<number, number>();
  const ranks = new Map<Descriptor, number>();
  for (const { entry, place } of latestFirst) {
    const count = counts.get(place) ?? 0;
    ranks.set(entry, count);
    counts.set(place, count + 1);
  }
  return ranks;
}

/** An age such as `3d`. At least 0, since this clock may be behind the writer's. */
function ageOf(ms: number): string {
  const minutes = Math.max(0, Math.floor(ms / 60_000));
  if (minutes < 120) return `${minutes}m`;
  return minutes < 48 * 60 ? `${Math.floor(minutes / 60)}h` : `${Math.floor(minutes / 60 / 24)}d`;
}
