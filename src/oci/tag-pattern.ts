/** Patterns of tags, each for the repositories that fit a pattern of its own: how settings say which tags never move. */
import { isPattern, matchesPattern } from "./match-pattern.ts";
import { isTag } from "./reference.ts";

/**
 * Tags that fit `tag`, in repositories whose names fit `repository`: `*` is any part, in a name up to the next `/`; `**`
 * any part at all.
 */
export interface TagPattern {
  readonly repository: string;
  readonly tag: string;
}

export interface ParsedTagPatterns {
  readonly patterns: readonly TagPattern[];
  /** All that cannot be used. */
  readonly problems: readonly string[];
}

/** Reads `[REPOSITORY:]TAG[,…]`, such as `v*,team/**:stable`; without a repository a pattern is for all of them. */
export function parseTagPatterns(text: string): ParsedTagPatterns {
  const problems: string[] = [];
  const patterns = text === "" ? [] : text.split(",").flatMap((part) => readTagPattern(part.trim(), problems) ?? []);
  return { patterns, problems };
}

/** Those for one repository: patterns of its tags. */
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
