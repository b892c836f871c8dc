/** What checks the files in infra/: which of the programs this machine lacks, and what a YAML file says. */
import { accessSync, constants } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type JsonObject, isJsonObject } from "../../src/oci/json.ts";
import { toolsPath } from "../tools/find-tool.ts";
import { runTool } from "../tools/run-tool.ts";

export const projectFolder = fileURLToPath(new URL("../..", import.meta.url));

/** Says which of the programs this machine lacks; empty if it has them all. */
export function missingPrograms(...names: readonly string[]): string[] {
  const absent = names.filter((name) => findProgram(name) === undefined);
  return absent.length === 0 ? [] : [`not on the PATH: ${absent.join(", ")} (see test/infra/install.sh)`];
}

export function findProgram(name: string): string | undefined {
  return toolsPath
    .split(delimiter)
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

/** The documents of a YAML file, by its path in the project, CloudFormation's short forms spelled out. */
export async function readYaml(path: string): Promise<unknown[]> {
  const script = fileURLToPath(new URL("read-yaml.py", import.meta.url));
  const documents: unknown = JSON.parse(await runTool("infra-python", [script, resolve(projectFolder, path)]));
  if (Array.isArray(documents)) return documents.map((document: unknown) => document);
  throw new TypeError(`Cannot read ${path}: expected a list of documents`);
}

/** Follows names, and positions in lists, into a document. Undefined where there is nothing. */
export function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>((found, step) => {
    if (Array.isArray(found)) return found[Number(step)];
    return isJsonObject(found) ? found[String(step)] : undefined;
  }, value);
}

/** The same, for a part that must be a list of objects. */
export function listAt(value: unknown, ...path: readonly (string | number)[]): JsonObject[] {
  const found = at(value, ...path);
  if (Array.isArray(found) && found.every(isJsonObject)) return found;
  throw new TypeError(`Cannot read ${path.join(".")}: found ${JSON.stringify(found)}, expected a list of objects`);
}

/** A text, or a list of them, as a list. */
export function textsOf(value: unknown): string[] {
  return (Array.isArray(value) ? value : [value]).map(String);
}

/** An object of texts; numbers and such as text. */
export function recordOf(value: unknown): Record<string, string> {
  return Object.fromEntries(Object.entries(isJsonObject(value) ? value : {}).map(([name, it]) => [name, String(it)]));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
