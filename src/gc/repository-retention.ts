/**
 * Drops the images of one repository that the rules drop, and those whose end is over. A drop removes an entry of the
 * index. The blobs are then garbage like those of a deleted image.
 *
 * A drop holds only for the entry that was judged: it does nothing if anybody has changed the entry since. `docs/gc.md`
 * has the argument.
 */
import type { Digest } from "../digest.ts";
import { type ErrorCode, StowageError } from "../errors.ts";
import { updateRepository } from "../layout/update-repository.ts";
import type { Layout } from "../layout/layout.ts";
import { stampTextOf } from "../layout/read-repository.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { RemoveTagChange } from "../oci/index-change.ts";
import { isReferrersTag, referrersTag, subjectOf, subjectOfTag, tagOf, withoutKind } from "../oci/index-entry.ts";
import type { RetentionRule } from "../settings/parse-retention.ts";
import { concurrently } from "../streams/concurrently.ts";
import { type RetentionScope, type JudgedEntry, type Verdict, hasEnded, judgeEntries } from "./judge-entries.ts";
import type { Tally } from "./tally.ts";

/** Drops that wait for one commit. The commits of one process to one repository go together. */
const maxConcurrentDrops = 500;

export interface RetentionRun {
  readonly rules: readonly RetentionRule[];
  /** When the run began: ages are taken at this time. */
  readonly began: number;
  readonly isDryRun: boolean;
  readonly tally: Tally;
  /** Called for each image that was dropped. In a dry run with rules, called for every image. */
  readonly onVerdict: ((verdict: Verdict) => void) | undefined;
}

/** The images of one repository, and what becomes of them. */
export class RepositoryRetention {
  /** Images that are surely kept. */
  readonly kept: readonly Descriptor[];
  /** Entries with a subject and without a tag. They are kept as long as their subject is. */
  readonly referrers: readonly Descriptor[];
  /** Signatures and the like under a tag. They go with their subject. */
  readonly #signatures: readonly Descriptor[];
  readonly #judged: readonly JudgedEntry[];
  readonly #layout: Layout;
  readonly #run: RetentionRun;
  readonly #scope: RetentionScope;

  constructor(layout: Layout, repository: string, entries: readonly Descriptor[], run: RetentionRun) {
    this.#layout = layout;
    this.#run = run;
    this.#scope = { repository, rules: run.rules, now: run.began };
    const kinds = groupBy(entries, (entry) => (hasEnded(entry, run.began) ? "image" : kindOf(entry)));
    this.referrers = kinds.get("referrer") ?? [];
    this.#signatures = kinds.get("signature") ?? [];
    this.#judged = judgeEntries(kinds.get("image") ?? [], this.#scope);
    this.kept = this.#judged.filter(({ verdict }) => verdict.decision === "kept").map(({ entry }) => entry);
  }

  /**
   * Drops images. `isNeeded` tells whether kept images need a blob, or may need it. An image without a tag is kept if
   * an index that is kept names it. Returns the entries that stay, without `kept` and `referrers`.
   */
  async drop(isNeeded: (digest: Digest) => boolean): Promise<readonly Descriptor[]> {
    const judged = this.#judged.map((it) => spareParts(it, isNeeded));
    const gone = judged.filter((it) => isDropped(it) && !isNeeded(it.entry.digest));
    const dropped = new Set(gone.map(({ entry }) => referrersTag(entry.digest)));
    const left: Descriptor[] = [];
    for (const entry of this.#signatures) {
      const tag = tagOf(entry) ?? "";
      const subject = subjectOfTag(tag);
      const isKept = subject === undefined ? !dropped.has(withoutKind(tag)) : isNeeded(subject);
      if (isKept) judged.push(this.#judge(entry, "kept", "its subject is kept"));
      else if (dropped.has(withoutKind(tag))) judged.push(this.#judge(entry, "dropped", "its subject is dropped"));
      else left.push(entry);
    }
    judged.push(...judgeEntries(left, this.#scope));
    const failed = await this.#dropAll(judged.filter(isDropped));
    const { isDryRun, rules, onVerdict } = this.#run;
    for (const { verdict } of judged.filter((it) => isDropped(it) || (isDryRun && rules.length > 0))) {
      if (!failed.has(verdict.reference)) onVerdict?.(verdict);
    }
    const kept = new Set(this.kept);
    return judged
      .filter((it) => (!isDropped(it) || failed.has(it.verdict.reference)) && !kept.has(it.entry))
      .map(({ entry }) => entry);
  }

  #judge(entry: Descriptor, decision: Verdict["decision"], reason: string): JudgedEntry {
    const { repository } = this.#scope;
    const { digest } = entry;
    return { entry, verdict: { repository, reference: tagOf(entry) ?? digest, digest, decision, reason } };
  }

  /** All tags of one image go together, with its signatures. Returns the names that were not dropped. */
  async #dropAll(judged: readonly JudgedEntry[]): Promise<ReadonlySet<string>> {
    const failed = new Set<string>();
    const groups = groupBy(judged, ({ entry }) => imageOf(entry));
    await concurrently(groups.values(), maxConcurrentDrops, async (group) => {
      if (await this.#commit(group.map(removalOf))) this.#run.tally.countDropped(group.length);
      else for (const { verdict } of group) failed.add(verdict.reference);
    });
    return failed;
  }

  /**
   * Returns false if the changes were not made, or if it is not known whether they were made: a later run judges again.
   */
  async #commit(changes: readonly RemoveTagChange[]): Promise<boolean> {
    const { isDryRun, tally } = this.#run;
    if (isDryRun) return true;
    try {
      await updateRepository(this.#layout, { repository: this.#scope.repository, changes });
      return true;
    } catch (error) {
      if (!(error instanceof StowageError) || !laterCodes.has(error.code)) throw error;
      if (error.code !== "CONDITION_FAILED") tally.tell(error.message);
      return false;
    }
  }
}

function kindOf(entry: Descriptor): "image" | "referrer" | "signature" {
  const tag = tagOf(entry);
  if (tag === undefined) return subjectOf(entry) === undefined ? "image" : "referrer";
  return isReferrersTag(tag) ? "signature" : "image";
}

function isDropped({ verdict }: JudgedEntry): boolean {
  return verdict.decision === "dropped";
}

function spareParts(judged: JudgedEntry, isNeeded: (digest: Digest) => boolean): JudgedEntry {
  const { entry, verdict } = judged;
  if (!isDropped(judged) || tagOf(entry) !== undefined || !isNeeded(entry.digest)) return judged;
  return { entry, verdict: { ...verdict, decision: "kept", reason: "an image that is kept needs it" } };
}

/** The image that an entry belongs to: a signature belongs to its subject. */
function imageOf(entry: Descriptor): string {
  const tag = tagOf(entry);
  return tag !== undefined && isReferrersTag(tag) ? withoutKind(tag) : referrersTag(entry.digest);
}

function removalOf({ entry, verdict }: JudgedEntry): RemoveTagChange {
  const { digest } = entry;
  return { op: "remove", tag: verdict.reference, expects: { digest, stamp: stampTextOf(entry) } };
}

function groupBy<K, T>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return groups;
}

const laterCodes: ReadonlySet<ErrorCode> = new Set([
  "CONDITION_FAILED",
  "COMMIT_CONFLICT",
  "STORE_UNAVAILABLE",
  "STORE_FULL",
]);
