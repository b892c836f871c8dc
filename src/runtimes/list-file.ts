/** Reads a file with the JSON list of a setting, on Node, Deno and Bun. */
import { readFile, stat } from "node:fs/promises";
import type { ParsedList } from "../auth/parse-list.ts";
import { StowageError, messageOf } from "../errors.ts";

/** Bytes of the file: some 5,000 entries. */
const maxFileBytes = 1024 * 1024;

export interface ListFile<T> {
  /** The setting or the option that names the file. */
  readonly name: string;
  readonly path: string;
  readonly parse: (text: string) => ParsedList<T>;
}

interface ReadList<T> {
  readonly entries: readonly T[];
  /** Each begins with the name and the path. */
  readonly problems: readonly string[];
}

export async function readListFile<T>({ name, path, parse }: ListFile<T>): Promise<ReadList<T>> {
  const failed = (problem: string): ReadList<T> => ({ entries: [], problems: [`${name}, ${path}: ${problem}`] });
  try {
    const { size } = await stat(path);
    if (size > maxFileBytes) return failed(`found ${size} bytes, expected at most ${maxFileBytes}`);
    const { entries, problems } = parse(await readFile(path, "utf8"));
    if (entries === undefined) return failed("found an empty file, expected a JSON list");
    return { entries, problems: problems.map((problem) => `${name}, ${path}: ${problem}`) };
  } catch (error) {
    return failed(messageOf(error));
  }
}

/** Throws `INPUT_INVALID` if there are problems. */
export function checkSettings(problems: readonly string[]): void {
  if (problems.length === 0) return;
  throw new StowageError("INPUT_INVALID", "Cannot use the settings:", { lines: problems.map((p) => `  ${p}`) });
}
