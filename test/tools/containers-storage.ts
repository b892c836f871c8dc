/** Storage of their own for podman, buildah and skopeo, apart from the user's. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isJsonObject, parseJson } from "../../src/oci/json.ts";

/** Writes the configuration of an empty storage into `folder` and returns the environment that makes the tools use it. */
export async function containersEnvironment(folder: string): Promise<Readonly<Record<string, string>>> {
  const storage = { driver: "vfs", graphroot: join(folder, "graph"), runroot: join(folder, "run") };
  const engine = { cgroup_manager: "cgroupfs", events_logger: "none", tmp_dir: join(folder, "tmp") };
  const storageFile = join(folder, "storage.conf");
  const engineFile = join(folder, "containers.conf");
  await writeFile(storageFile, toml("storage", storage));
  await writeFile(engineFile, toml("engine", engine));
  return { CONTAINERS_STORAGE_CONF: storageFile, CONTAINERS_CONF: engineFile };
}

/**
 * What the storage in `folder` says of the layers of its only image, from the first to the last: the digests that it
 * found while it read them. Its own file tells, since `podman save` packs layers again, and refuses some media types.
 */
export async function readLayerDigests(folder: string): Promise<string[]> {
  const layers = parseJson(await readFile(join(folder, "graph/vfs-layers/layers.json")));
  if (!Array.isArray(layers)) throw new Error(`Cannot read the layers in ${folder}: expected a list`);
  const byParent = new Map(layers.filter(isJsonObject).map((layer) => [layer["parent"], layer]));
  const digests: string[] = [];
  for (let layer = byParent.get(undefined); layer !== undefined; layer = byParent.get(layer["id"])) {
    digests.push(String(layer["compressed-diff-digest"]));
  }
  return digests;
}

function toml(table: string, values: Readonly<Record<string, string>>): string {
  const lines = Object.entries(values).map(([name, value]) => `${name} = ${JSON.stringify(value)}`);
  return [`[${table}]`, ...lines, ""].join("\n");
}
