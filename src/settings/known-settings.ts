/** Every setting by its name, and warnings about misspelt names. */
import type { Environment } from "./settings.ts";

/** The meaning of each setting in a few words, with its default. `docs/using.md` says more. */
export const knownSettings: Readonly<Record<string, string>> = {
  HOST: "where it listens, 127.0.0.1",
  PORT: "where it listens, 8080",
  STOWAGE_STORE: "the store's URL, file:./data",
  STOWAGE_TOKENS: "who may do what, a JSON list",
  STOWAGE_TOKENS_FILE: "a file with that list, read again when it changes",
  STOWAGE_OIDC: "what tokens of CI systems allow, a JSON list",
  STOWAGE_ANONYMOUS_PULL: "true: clients without a token may pull",
  STOWAGE_ALLOW_ANYONE: "true: anyone may do everything",
  STOWAGE_HOSTS: "more names under which clients may ask",
  STOWAGE_IMMUTABLE_TAGS: "tags that never move, v*,team/**:stable",
  STOWAGE_COPY_TARGETS: "stores that images are copied to, by name, JSON",
  STOWAGE_COPY_AFTER_LOAD: "targets that loads copy to, us,ap",
  STOWAGE_REDIRECT_BLOBS: "true: pulls go to the bucket itself",
  STOWAGE_PUBLIC_ENDPOINT_URL_S3: "where clients reach the bucket",
  STOWAGE_GC_GRACE: "how long gc keeps what it has condemned, 24h",
  STOWAGE_GC_EVERY: "how often gc runs on a platform, 24h; never",
  STOWAGE_RETENTION: "which images gc drops, a JSON list",
  STOWAGE_RETENTION_FILE: "a file with that list, for `stowage gc`",
  STOWAGE_CHECK_STORE: "false: starts though the store does not answer",
  STOWAGE_PAGE: "off: no page for people at /",
  STOWAGE_LOG: "json or text; auto: text on a terminal",
  STOWAGE_METRICS: "who may read /metrics: token, public, off",
  STOWAGE_STOP_SECONDS: "how long a stop may take, 30s",
  STOWAGE_KEEP_ALIVE_SECONDS: "how long an idle connection stays, 75s",
  STOWAGE_MAX_CONNECTIONS: "connections at once, 10000",
  STOWAGE_MAX_BUFFER_BYTES: "memory of all loads together, 64MiB",
  STOWAGE_MAX_MANIFEST_BYTES: "one manifest, 4MiB",
  STOWAGE_MAX_ENTRIES: "entries of an archive, 100000",
  STOWAGE_MAX_INDEX_DEPTH: "indexes inside indexes, 8",
  STOWAGE_MAX_BODY_BYTES: "a tarball as it comes, 1TiB",
  STOWAGE_MAX_BLOB_BYTES: "one file in an archive, 50GiB",
  STOWAGE_MAX_PAX_BYTES: "extended headers of an archive, 32MiB",
  STOWAGE_MAX_EXPANSION_RATIO: "bytes out of each compressed byte, 100",
  STOWAGE_MAX_EXPANDED_BYTES: "bytes out of a compressed body, 256GiB",
  STOWAGE_MAX_LOADS: "loads at once, 64",
  STOWAGE_MAX_IDLE_SECONDS: "how long a client may be silent, 300s",
  STOWAGE_MAX_LOAD_SECONDS: "how long a load may take, 6h",
  STOWAGE_TOKEN: "for commands with --to: the token to show",
  STOWAGE_TOKEN_FILE: "for commands with --to: a file with the token",
  STOWAGE_TOKEN_AUDIENCE: "for commands with --to, in a GitHub job",
};

const prefix = "STOWAGE_";

/** Warns of each variable that begins with `STOWAGE_` and is no setting, and names the nearest setting. */
export function warnOfUnknown(env: Environment): string[] {
  const names = new Map(Object.keys(knownSettings).map((name) => [withoutPrefix(name), name]));
  return Object.entries(env).flatMap(([name, value]) => {
    if (!name.startsWith(prefix) || Object.hasOwn(knownSettings, name) || isOfOthers(name, value)) return [];
    const nearest = names.get(nearestName(withoutPrefix(name), names.keys()) ?? "");
    return [`there is no setting ${name}${nearest === undefined ? "" : `, did you mean ${nearest}?`}`];
  });
}

function withoutPrefix(name: string): string {
  return name.startsWith(prefix) ? name.slice(prefix.length) : name;
}

/**
 * Kubernetes sets such variables for a service that is called `stowage` (`STOWAGE_PORT=tcp://10.0.0.1:80`). The
 * project's tests have some of their own.
 */
function isOfOthers(name: string, value: string | undefined): boolean {
  return /^STOWAGE_(?:SERVICE|TEST|CI|FUZZ)_|^STOWAGE_PORT_\d/.test(name) || value?.startsWith("tcp://") === true;
}

/**
 * The most likely name for a misspelt `text`. At most a third of the letters may be missing, added, changed or swapped
 * with a neighbour. Undefined if no name is that near.
 */
export function nearestName(text: string, names: Iterable<string>): string | undefined {
  if (text.length > maxLength) return undefined;
  let nearest: string | undefined;
  let fewest = Math.max(1, Math.floor(text.length / 3)) + 1;
  for (const name of names) {
    const edits = editDistance(text, name);
    if (edits >= fewest) continue;
    nearest = name;
    fewest = edits;
  }
  return nearest;
}

/** All names are shorter. The limit is needed because the time for a distance grows with the square of the length. */
const maxLength = 64;

/** Optimal string alignment: Levenshtein's distance, with a swap of two neighbours as one edit. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] && j > 1 && i > 1;
      const swap = isSwap ? (beforeLast[j - 2] ?? 0) + 1 : Infinity;
      row.push(Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, change, swap));
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
