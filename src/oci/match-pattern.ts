/**
 * Patterns of repository names: `*` is any part of a name up to the next `/`, `**` any part at all; either may be empty.
 * By hand, not by a regular expression: one that is tried anew from each star takes far too long on some patterns.
 */
import { isRepositoryName } from "./reference.ts";

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
