/**
 * Reads patterns of tags from the settings: they say which tags never move. Each pattern is for the repositories that
 * fit a second pattern.
 */
import { isRepositoryName, isTag } from "./reference.ts";

/**
 * All tags that fit `tag`, in all repositories whose names fit `repository`. `*` fits any text, but no `/` of a
 * repository's name. `**` fits any text.
 */
export interface TagPattern {
  readonly repository: string;
  readonly tag: string;
}

interface ParsedTagPatterns {
  readonly patterns: readonly TagPattern[];
  /** One problem for each pattern that cannot be used. */
  readonly problems: readonly string[];
}

/**
 * Reads `[REPOSITORY:]TAG[,…]`, such as `v*,team/**:stable`. A pattern without a repository is for all repositories.
 */
export function parseTagPatterns(text: string): ParsedTagPatterns {
  const problems: string[] = [];
  const patterns = text === "" ? [] : text.split(",").flatMap((part) => readTagPattern(part.trim(), problems) ?? []);
  return { patterns, problems };
}

/** The patterns of tags for one repository. */
export function tagPatternsOf(patterns: readonly TagPattern[], repository: string): string[] {
  return patterns.filter((pattern) => matchesPattern(pattern.repository, repository)).map(({ tag }) => tag);
}

function readTagPattern(text: string, problems: string[]): TagPattern | undefined {
  const colon = text.lastIndexOf(":");
  const repository = colon === -1 ? "**" : text.slice(0, colon);
  const tag = text.slice(colon + 1);
  const isRepository = isPattern(repository);
  if (isRepository && isTag(tag.replaceAll("*", "a"))) return { repository, tag };
  const expected = isRepository
    ? 'a pattern of tags, such as "v*" or "team/**:v*"'
    : 'a pattern of repository names before the colon, such as "team/**:v*"';
  problems.push(`found ${JSON.stringify(text)}, expected ${expected}`);
  return undefined;
}

/** Could some repository's name fit the pattern? */
export function isPattern(text: string): boolean {
  return isRepositoryName(text.replaceAll("*", "a"));
}

/**
 * Does the whole name fit the pattern? `*` fits any text without `/`, `**` fits any text. Both also fit an empty text.
 * Compares each part of the pattern once with each place in the name: a regular expression tries again from each star,
 * and takes far too long on some patterns.
 */
export function matchesPattern(pattern: string, name: string): boolean {
  let reached = [true]; // the places in the name that the pattern has reached: at first only the beginning
  for (const [part] of pattern.matchAll(/\*\*|[^]/g)) {
    const next: boolean[] = [];
    for (let i = 0; i <= name.length; i++) {
      const passed = name[i - 1];
      if (part === "**") next.push(reached[i] === true || next[i - 1] === true);
      else if (part === "*") next.push(reached[i] === true || (next[i - 1] === true && passed !== "/"));
      else next.push(reached[i - 1] === true && passed === part);
    }
    reached = next;
  }
  return reached[name.length] === true;
}
