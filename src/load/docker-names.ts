/**
 * Reads image names from a `manifest.json` beside an image layout. Docker, BuildKit and Bazel write both files, and not
 * all of them write the names into `index.json`. The same config means the same image in both files.
 */
import type { Digest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import type { CheckedRoot } from "../layout/check-closure.ts";
import { type DockerImage, digestInName, parseDockerManifest } from "../oci/docker-manifest.ts";
import { type ImageName, containerdNameAnnotation, formatName } from "../oci/reference.ts";
import { isTagAlone, nameInArchive, nameTextOf } from "./archive-name.ts";

/** By digest of a config, the names of its image. */
export type DockerNames = ReadonlyMap<Digest, readonly string[]>;

/** Reads a `manifest.json` beside an `index.json`. Undefined if it cannot be read: the index alone counts then. */
export function readDockerManifest(bytes: Uint8Array): readonly DockerImage[] | undefined {
  try {
    return parseDockerManifest(bytes);
  } catch (error) {
    if (error instanceof StowageError) return undefined;
    throw error;
  }
}

/**
 * Does a `manifest.json` name files of an image layout? Then the archive is a layout, even if only the store has the
 * files.
 */
export function namesBlobs(images: readonly DockerImage[]): boolean {
  return images.some(({ config, layers }) => [config, ...layers].some((path) => /^(?:\.?\/)*blobs\//.test(path)));
}

export function dockerNamesIn(images: readonly DockerImage[]): DockerNames {
  const names = new Map<Digest, readonly string[]>();
  for (const { config, repoTags } of images) {
    const digest = digestInName(config);
    if (digest !== undefined && repoTags.length > 0) names.set(digest, [...(names.get(digest) ?? []), ...repoTags]);
  }
  return names;
}

/**
 * Adds a root for each name in `manifest.json` that `index.json` gives to no image. If `index.json` has a root of the
 * same image without a name, or with only the tag of the name, the new root replaces it. `rootOfConfig` tells which
 * root leads to a config. An invalid name is not an error here: `nameRoots` checks names, and the request may give
 * another name.
 */
export function addDockerNames(
  roots: readonly CheckedRoot[],
  names: DockerNames,
  rootOfConfig: ReadonlyMap<Digest, Digest | undefined>,
): readonly CheckedRoot[] {
  const known = new Set(roots.flatMap((root) => nameOrNone(root) ?? []).map(formatName));
  const byRoot = new Map<Digest, Map<string, string | undefined>>();
  for (const [config, texts] of names) {
    const digest = rootOfConfig.get(config);
    if (digest === undefined) continue;
    const own = byRoot.get(digest) ?? new Map<string, string | undefined>();
    byRoot.set(digest, own);
    for (const text of texts) {
      const name = nameOrNone({ annotations: { [containerdNameAnnotation]: text } });
      if (name === undefined || !known.has(formatName(name))) own.set(text, name?.tag);
    }
  }
  const isReplaced = (root: CheckedRoot): boolean => {
    const own = byRoot.get(root.digest);
    if (own === undefined || own.size === 0) return false;
    const text = nameTextOf(root);
    return text === undefined || (isTagAlone(root, text) && [...own.values()].includes(text));
  };
  const added = [...new Map(roots.map((root) => [root.digest, root])).values()].flatMap((root) =>
    [...(byRoot.get(root.digest)?.keys() ?? [])].map((text): CheckedRoot => {
      const { annotations = {} } = root;
      return { ...root, annotations: { ...annotations, [containerdNameAnnotation]: text } };
    }),
  );
  return [...roots.filter((root) => !isReplaced(root)), ...added];
}

function nameOrNone(root: Pick<CheckedRoot, "annotations">): ImageName | undefined {
  try {
    const { repository, tag } = nameInArchive(root);
    return { repository, tag };
  } catch (error) {
    if (error instanceof StowageError) return undefined;
    throw error;
  }
}
