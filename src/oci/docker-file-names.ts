/** What the names of files in a docker-archive tell. Tools agree on `manifest.json` alone; all else is custom. */

/** The digest that a file's name claims, wherever it lies: `<hex>.tar`, `<hex>.json`, `sha256:<hex>`, … */
export function digestInName(path: string): string | undefined {
  if (/^blobs\/(?!sha256\/)[^/]+\//.test(path)) return undefined; // of another algorithm
  const hex = /(?:^|\/)(?:sha256:)?([0-9a-f]{64})(?:\.json|\.tar|\.tgz|\.tar\.gz|\.tar\.zst)?$/.exec(path)?.[1];
  return hex === undefined ? undefined : `sha256:${hex}`;
}

/**
 * Can it be a layer or a config: `<id>/layer.tar`, `config.json`, `config`? Not every file is taken for one, or whoever sends
 * something else by mistake, a root file system say, would fill the store: what lies in a folder has to look like one. A lock
 * is none: BuildKit leaves `index.json.lock` in its layouts.
 */
export function isPartName(path: string): boolean {
  if (path.endsWith(".lock")) return false;
  return digestInName(path) !== undefined || /(?:\.(?:tar|tgz|tar\.gz|tar\.zst)|\/layer)$|^[^./][^/]*$/.test(path);
}

/** Is it there for Docker before 1.10, and for nobody else? */
export function isLegacyName(path: string): boolean {
  return path === "repositories" || /^[^/]+\/(?:json|VERSION)$/.test(path);
}
