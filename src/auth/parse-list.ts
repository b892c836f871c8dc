/** Reads a setting that is a JSON list of objects, strictly. Messages repeat no values: any of them may be a secret. */
import { type JsonObject, isJsonObject } from "../oci/json.ts";
import { isPattern } from "../oci/tag-pattern.ts";
import { type Action, actions } from "./access.ts";

export interface ParsedList<T> {
  /** Undefined for an empty setting. */
  readonly entries: readonly T[] | undefined;
  /** One problem for each part that cannot be used. */
  readonly problems: readonly string[];
}

/** Reads one property. Reports a value that is not right, and then returns undefined. */
export type ReadProperty = <T>(key: string, isRight: (value: unknown) => value is T, expected: string) => T | undefined;

/** `readEntry` returns undefined for an entry that cannot be used. Other properties than `properties` are problems. */
export function parseList<T>(
  text: string,
  properties: readonly string[],
  readEntry: (read: ReadProperty, entry: JsonObject) => T | undefined,
): ParsedList<T> {
  if (text === "") return { entries: undefined, problems: [] };
  const list = tryJson(text);
  if (!Array.isArray(list)) {
    return { entries: [], problems: [`found ${list === undefined ? "no JSON" : kindOf(list)}, expected a JSON list`] };
  }
  const problems: string[] = [];
  const entries = list.flatMap((entry: unknown, i) => {
    const report = (problem: string): void => void problems.push(`entry ${i + 1} of ${list.length}: ${problem}`);
    if (!isJsonObject(entry)) {
      report(`found ${kindOf(entry)}, expected an object`);
      return [];
    }
    const found = readEntry((key, isRight, expected) => {
      const value = entry[key];
      if (isRight(value)) return value;
      report(`${key} is ${kindOf(value)}, expected ${expected}`);
      return undefined;
    }, entry);
    if (Object.keys(entry).some((key) => !properties.includes(key))) {
      report(`found a property that means nothing, expected ${properties.join(", ")} alone`);
    }
    return found ?? [];
  });
  return { entries, problems };
}

/** The problems of a setting whose list is in a file. `list` is the list of the setting itself. */
export function problemsOfFile(
  name: string,
  list: readonly unknown[] | undefined,
  hasFiles: boolean,
): readonly string[] {
  if (!hasFiles) return [`${name}_FILE: found a path, but this platform has no files: expected ${name}`];
  return list === undefined ? [] : [`${name}_FILE: found it beside ${name}, expected one of them`];
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // the message of the error would show a part of the text
  }
}

export const actionsForm = 'a list of "pull", "load", "copy", "delete" and "metrics", or some of them';

/** The actions of an entry. An empty list is refused: an entry that allows nothing is a mistake. */
export function isActions(value: unknown): value is readonly Action[] {
  return isListOf(value, (item) => actions.some((action) => action === item));
}

export const patternsForm =
  'a list of repository names, "*" in them for any part up to the next "/", "**" for any part at all';

export function isPatterns(value: unknown): value is readonly string[] {
  return isListOf(value, (item) => typeof item === "string" && isPattern(item));
}

export function isListOf(value: unknown, isRight: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.length > 0 && value.every(isRight);
}

function kindOf(value: unknown): string {
  if (value === undefined) return "not there";
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list of something else";
  if (typeof value === "object") return Object.keys(value).length === 0 ? "an empty object" : "an object";
  return typeof value === "string" ? `a text of ${value.length} characters` : `a ${typeof value}`;
}
