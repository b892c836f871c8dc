/** Patterns of tags, each for the repositories that fit a pattern of its own: how settings say which tags never move. */
import { isRepositoryName, isTag } from "./reference.ts";

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

// Patterns of repository names: `*` is any part of a name up to the next `/`, `**` any part at all; either may be empty.
// By hand, not by a regular expression: one that is tried anew from each star takes far too long on some patterns.

/** Could some repository's name fit the pattern? */
export function isPattern(text: string): boolean {
  return isRepositoryName(text.replaceAll("*", "a"));
}

/** Does the whole name fit the pattern? Each part of the pattern is held once against each place in the name. */
export function matchesPattern(pattern: string, name: string): boolean {
  let reached = [true]; // the places to which the pattern leads so far: before its first part, only the beginning
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
