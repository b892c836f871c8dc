/**
 * Reads the rules that say which images of a repository gc keeps, and which it drops: `STOWAGE_RETENTION`, or a file, a
 * JSON list. `docs/retention.md` has the form.
 */
import {
  type ParsedList,
  type ReadProperty,
  isListOf,
  isPatterns,
  parseList,
  patternsForm,
  problemsOfFile,
} from "../auth/parse-list.ts";
import type { JsonObject } from "../oci/json.ts";
import { isTag } from "../oci/reference.ts";
import { parseDuration } from "./parse-quantity.ts";
import type { Environment } from "./settings.ts";

/** The first rule of a list that fits an image decides about it. */
export interface RetentionRule {
  /** Patterns of repository names. */
  readonly repositories: readonly string[];
  /** Patterns of tags. `untagged`: images without a tag, and no others. */
  readonly fits: readonly string[] | "untagged";
  /** Undefined if all images that fit are kept. */
  readonly drops: DropCondition | undefined;
}

/** An image is dropped if everything that is here holds. At least one of the two is here. */
export interface DropCondition {
  /** Drops what is not among the latest images of its repository that the rule decides about: this many are kept. */
  readonly keepLatest?: number | undefined;
  /** Drops what was changed last longer ago than this. */
  readonly olderThanMs?: number | undefined;
}

const properties = ["repositories", "tags", "untagged", "keep", "keepLatest", "dropAfter"];

/** A shorter time is most likely a mistake, such as `7m` for seven months. */
const minDropMs = 60 * 60 * 1000;

export interface RetentionSettings {
  /** Which images gc keeps, and which it drops. Without the rules of `retentionFile`. */
  readonly retention: readonly RetentionRule[];
  /** The path of a file with such rules. */
  readonly retentionFile: string | undefined;
}

export function readRetention(
  env: Environment,
  hasFiles = false,
): RetentionSettings & { readonly problems: readonly string[] } {
  const { entries, problems: ofRules } = parseRetention(env["STOWAGE_RETENTION"] ?? "");
  const retentionFile = env["STOWAGE_RETENTION_FILE"] || undefined;
  const ofFile = retentionFile === undefined ? [] : problemsOfFile("STOWAGE_RETENTION", entries, hasFiles);
  const problems = [...ofRules.map((problem) => `STOWAGE_RETENTION, ${problem}`), ...ofFile];
  return { retention: entries ?? [], retentionFile, problems };
}

/**
 * Reads `[{"repositories"?, "tags"? or "untagged"?, "keep" or "keepLatest" and "dropAfter"}, …]`. Without
 * `repositories`, a rule is for all of them. Without `tags` and `untagged`, a rule is for all tags.
 */
export function parseRetention(text: string): ParsedList<RetentionRule> {
  return parseList<RetentionRule>(text, properties, (read, entry) => {
    const repositories = entry["repositories"] === undefined ? ["**"] : read("repositories", isPatterns, patternsForm);
    const fits = readFits(read, entry);
    const drops = readDrops(read, entry);
    return repositories && fits && drops && { repositories, fits, drops: drops === "never" ? undefined : drops };
  });
}

function readFits(read: ReadProperty, { tags, untagged }: JsonObject): RetentionRule["fits"] | undefined {
  if (untagged === undefined) return tags === undefined ? ["*"] : read("tags", isTagPatterns, tagsForm);
  const isRight = read("untagged", isTrue, "true, or no such property") !== undefined;
  return isRight && isAlone(read, "tags", "untagged") ? "untagged" : undefined;
}

function readDrops(read: ReadProperty, entry: JsonObject): DropCondition | "never" | undefined {
  const { keep, keepLatest, dropAfter } = entry;
  if (keep !== undefined || (keepLatest === undefined && dropAfter === undefined)) {
    const isRight = read("keep", isAlways, '"always", or "keepLatest" or "dropAfter" instead') !== undefined;
    const areAlone = [isAlone(read, "keepLatest", "keep"), isAlone(read, "dropAfter", "keep")];
    return isRight && !areAlone.includes(false) ? "never" : undefined;
  }
  const latest = keepLatest === undefined ? 0 : read("keepLatest", isCount, "a whole number, at least 1");
  const time = dropAfter === undefined ? "" : read("dropAfter", isTime, "a time such as 12h or 30d, at least 1h");
  if (latest === undefined || time === undefined) return undefined;
  return { keepLatest: latest || undefined, olderThanMs: parseDuration(time) };
}

function isAlone(read: ReadProperty, name: string, beside: string): boolean {
  let isRight = false;
  read(name, (value): value is undefined => (isRight = value === undefined), `nothing beside "${beside}"`);
  return isRight;
}

const tagsForm = 'a list of tags, "*" in them for any text, such as ["v*"]';

function isTagPatterns(value: unknown): value is readonly string[] {
  return isListOf(value, (item) => typeof item === "string" && isTag(item.replaceAll("*", "a")));
}

function isTrue(value: unknown): value is true {
  return value === true;
}

function isAlways(value: unknown): value is "always" {
  return value === "always";
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 1;
}

function isTime(value: unknown): value is string {
  return typeof value === "string" && (parseDuration(value) ?? 0) >= minDropMs;
}
