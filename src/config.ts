/** The settings, read from the environment once, with every problem reported at once. */
import type { Access } from "./auth/access.ts";
import { parseTokens } from "./auth/parse-tokens.ts";
import { StowageError } from "./errors.ts";
import { type Limits, defaultLimits } from "./limits.ts";
import { isLoopback } from "./loopback.ts";
import { type TagPattern, parseTagPatterns } from "./oci/tag-pattern.ts";
import type { Environment } from "./settings.ts";

export interface Config {
  /** The store's URL, see `open-store.ts`. */
  readonly storeUrl: string;
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** How long a service that is told to stop lets what runs finish. */
  readonly stopSeconds: number;
  /** How long a connection stays open between two requests. */
  readonly keepAliveSeconds: number;
  /** Connections at once, whatever they do. */
  readonly maxConnections: number;
  readonly access: Access;
  /** Is whoever pulls a blob sent to the bucket itself? */
  readonly redirectBlobs: boolean;
  /** Tags that never move and are never removed. */
  readonly immutableTags: readonly TagPattern[];
  readonly limits: Limits;
}

export interface ConfigOptions {
  /** Can others reach the service whatever `HOST` says, as on Workers? */
  readonly isReachable?: boolean | undefined;
}

/**
 * Reads the settings. Throws `INPUT_INVALID` with a line for each one that cannot be used, among them that others can
 * reach the service and nothing is said of who may.
 */
export function parseConfig(env: Environment, { isReachable = false }: ConfigOptions = {}): Config {
  const problems: string[] = [];
  const read = <T>(name: string, parse: (text: string) => T | undefined, expected: string, fallback: T): T => {
    const text = env[name];
    if (text === undefined || text === "") return fallback;
    const value = parse(text);
    if (value === undefined) problems.push(`${name} is ${JSON.stringify(text)}, expected ${expected}`);
    return value ?? fallback;
  };
  const bytes = "a number of bytes, such as 67108864 or 64MiB";
  const seconds = `seconds, from 1 to ${maxSeconds}`;
  const positive = "a whole number, at least 1";
  const atLeast = "at least 32MiB, which one streamed blob takes";
  const anonymousPull = read("STOWAGE_ANONYMOUS_PULL", parseBoolean, "true or false", false);
  const allowsAnyone = read("STOWAGE_ALLOW_ANYONE", parseBoolean, "true or false", false);
  const { tokens, problems: ofTokens } = parseTokens(env["STOWAGE_TOKENS"] ?? "");
  problems.push(...ofTokens.map((problem) => `STOWAGE_TOKENS, ${problem}`));
  const { patterns: immutableTags, problems: ofPatterns } = parseTagPatterns(env["STOWAGE_IMMUTABLE_TAGS"] ?? "");
  problems.push(...ofPatterns.map((problem) => `STOWAGE_IMMUTABLE_TAGS: ${problem}`));
  const asks = tokens !== undefined || anonymousPull;
  const config: Config = {
    storeUrl: read("STOWAGE_STORE", parseStoreUrl, "a URL: file:…, s3://…, r2:… or memory:", "file:./data"),
    host: read("HOST", (text) => text, "an address", "127.0.0.1"),
    port: read("PORT", (text) => parseCount(text, 65_535), "a port from 0 to 65535", 8080),
    stopSeconds: read("STOWAGE_STOP_SECONDS", (text) => parseCount(text, 86_400), "seconds, from 0 to 86400", 30),
    keepAliveSeconds: read("STOWAGE_KEEP_ALIVE_SECONDS", parseSeconds, seconds, 75),
    maxConnections: read("STOWAGE_MAX_CONNECTIONS", parsePositive, positive, 10_000),
    access: asks ? { tokens: tokens ?? [], anonymousPull } : "anyone",
    redirectBlobs: read("STOWAGE_REDIRECT_BLOBS", parseBoolean, "true or false", false),
    immutableTags,
    limits: {
      maxBufferBytes: read("STOWAGE_MAX_BUFFER_BYTES", parseBufferBytes, atLeast, defaultLimits.maxBufferBytes),
      maxManifestBytes: read("STOWAGE_MAX_MANIFEST_BYTES", parseBytes, bytes, defaultLimits.maxManifestBytes),
      maxEntries: read("STOWAGE_MAX_ENTRIES", parseCount, "a whole number", defaultLimits.maxEntries),
      maxIndexDepth: read("STOWAGE_MAX_INDEX_DEPTH", parseCount, "a whole number", defaultLimits.maxIndexDepth),
      maxBodyBytes: read("STOWAGE_MAX_BODY_BYTES", parseBytes, bytes, defaultLimits.maxBodyBytes),
      maxBlobBytes: read("STOWAGE_MAX_BLOB_BYTES", parseBytes, bytes, defaultLimits.maxBlobBytes),
      maxLoads: read("STOWAGE_MAX_LOADS", parseLoads, `a number from 1 to ${maxLoads}`, defaultLimits.maxLoads),
      maxIdleSeconds: read("STOWAGE_MAX_IDLE_SECONDS", parseSeconds, seconds, defaultLimits.maxIdleSeconds),
      maxLoadSeconds: read("STOWAGE_MAX_LOAD_SECONDS", parseSeconds, seconds, defaultLimits.maxLoadSeconds),
      maxPaxBytes: read("STOWAGE_MAX_PAX_BYTES", parseBytes, bytes, defaultLimits.maxPaxBytes),
      maxExpansionRatio: read("STOWAGE_MAX_EXPANSION_RATIO", parsePositive, positive, defaultLimits.maxExpansionRatio),
      maxExpandedBytes: read("STOWAGE_MAX_EXPANDED_BYTES", parseBytes, bytes, defaultLimits.maxExpandedBytes),
    },
  };
  if (asks && allowsAnyone) problems.push(contradiction);
  if (!asks && !allowsAnyone && isReachable) problems.push(`Others can reach the service, ${waysOut}`);
  else if (!asks && !allowsAnyone && !isLoopback(config.host)) {
    problems.push(`HOST is "${config.host}", where others can reach the service, ${waysOut}`);
  }
  if (problems.length === 0) return config;
  throw new StowageError("INPUT_INVALID", `Cannot use the settings:\n${problems.map((p) => `  ${p}`).join("\n")}`);
}

const contradiction =
  "STOWAGE_ALLOW_ANYONE is true, so that anyone may do everything, beside STOWAGE_TOKENS or STOWAGE_ANONYMOUS_PULL, " +
  "by which not everybody may: expected one or the other";

const waysOut =
  "and nothing asks them who they are: set STOWAGE_TOKENS to whom you let in (`stowage token NAME` makes an entry), " +
  "STOWAGE_ANONYMOUS_PULL=true if whoever can reach it may pull, " +
  "or STOWAGE_ALLOW_ANYONE=true if whoever can reach it may load and delete as well";

function parseStoreUrl(text: string): string | undefined {
  return /^(?:file:.|s3:\/\/.|r2:.|memory:$)/.test(text) ? text : undefined;
}

function parseCount(text: string, max = Number.MAX_SAFE_INTEGER): number | undefined {
  return /^\d+$/.test(text) && Number(text) <= max ? Number(text) : undefined;
}

const unitBytes: Readonly<Record<string, number>> = { "": 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };

function parseBytes(text: string): number | undefined {
  const [, count = "", unit = ""] = /^(\d+) ?([KMGT]iB|)$/.exec(text) ?? [];
  return count === "" ? undefined : parseCount(String(Number(count) * (unitBytes[unit] ?? 1)));
}

function parseBufferBytes(text: string): number | undefined {
  const bytes = parseBytes(text);
  return bytes !== undefined && bytes >= 32 * 2 ** 20 ? bytes : undefined;
}

/** Far fewer than connections to a store (`storage/s3-client.ts`): a load can hold one while it waits for another. */
const maxLoads = 128;

function parseLoads(text: string): number | undefined {
  return parseCount(text, maxLoads) || undefined;
}

/** Twenty days: timers of some platforms reach no further than 24. */
const maxSeconds = 20 * 24 * 60 * 60;

function parseSeconds(text: string): number | undefined {
  return parseCount(text, maxSeconds) || undefined;
}

function parsePositive(text: string): number | undefined {
  return parseCount(text) || undefined;
}

function parseBoolean(text: string): boolean | undefined {
  return text === "true" ? true : text === "false" ? false : undefined;
}
