/** Reads the settings from the environment, and reports all problems at once. */
import type { Access, Token } from "../auth/access.ts";
import { describeAccess } from "../auth/describe-access.ts";
import { parseOidcRules } from "../auth/parse-oidc.ts";
import { problemsOfFile } from "../auth/parse-list.ts";
import { parseTokens } from "../auth/parse-tokens.ts";
import { StowageError } from "../errors.ts";
import type { NoticeEvent } from "../events.ts";
import { type Limits, defaultLimits } from "../limits.ts";
import { isLoopback } from "../loopback.ts";
import { isJsonObject } from "../oci/json.ts";
import { type TagPattern, parseTagPatterns } from "../oci/tag-pattern.ts";
import { hostForm, parseHosts, withOwnNames } from "./parse-hosts.ts";
import { warnOfUnknown } from "./known-settings.ts";
import { parseBytes, parseSeconds } from "./parse-quantity.ts";
import { type RetentionSettings, readRetention } from "./parse-retention.ts";
import type { Environment } from "./settings.ts";

export interface Config extends RetentionSettings {
  /** The store's URL, see `open-store.ts`. */
  readonly storeUrl: string;
  readonly host: string;
  /** 0 stands for any free port. */
  readonly port: number;
  /** When the service stops, running requests have this long to finish. */
  readonly stopSeconds: number;
  /** A connection stays open for this long between two requests. */
  readonly keepAliveSeconds: number;
  /** Connections at the same time, busy or idle. */
  readonly maxConnections: number;
  /** Without the tokens of `tokensFile`. */
  readonly access: Access;
  /** The path of a file with tokens. */
  readonly tokensFile: string | undefined;
  /** The names under which the service answers. Undefined for any name. */
  readonly hosts: readonly string[] | undefined;
  /** Are pulls of blobs redirected to the bucket? */
  readonly redirectBlobs: boolean;
  /** Tags that never move and are never removed. */
  readonly immutableTags: readonly TagPattern[];
  /** The URLs of the stores that images can be copied to, by name. */
  readonly copyTargets: ReadonlyMap<string, string>;
  /** The names of the targets that loads copy to. */
  readonly copyAfterLoad: readonly string[];
  readonly limits: Limits;
  /** How long gc keeps a blob that it has condemned. */
  readonly gcGraceSeconds: number;
  /** A run of gc that a platform triggers begins this long after the last one. 0: never. */
  readonly gcEverySeconds: number;
  /** Does the service look at its store before it starts? */
  readonly checkStore: boolean;
  /** Is there a page for people at `/`? */
  readonly page: boolean;
  /** The format of the log. `auto`: for people on a terminal, for programs elsewhere. */
  readonly log: "auto" | "json" | "text";
  /** Who may read `/metrics`: callers with that action, everybody, or nobody. */
  readonly metrics: "token" | "public" | "off";
  /** Settings that can be used but are most likely mistakes. */
  readonly warnings: readonly string[];
}

/** The differences between platforms in the meaning of settings. */
export interface PlatformTraits {
  /** Can others reach the service, even with a loopback `HOST`? True on Workers and Lambda. */
  readonly isReachable?: boolean | undefined;
  /** Settings that do nothing on the platform. */
  readonly ignores?: readonly string[] | undefined;
  /** Can `stowage gc` run here, and read a file of rules? */
  readonly hasFiles?: boolean | undefined;
  /** Opens the file of `STOWAGE_TOKENS_FILE`. Undefined on platforms that have no files. */
  readonly openTokensFile?: OpenTokensFile | undefined;
}

/** Reads the file. Returns a function that returns the tokens of the file as it is then. Throws `INPUT_INVALID`. */
export type OpenTokensFile = (
  path: string,
  report: (event: NoticeEvent) => void,
) => Promise<() => Promise<readonly Token[]>>;

/**
 * Reads the settings. Throws `INPUT_INVALID` with a line for each setting that cannot be used. A service that others
 * can reach must say who may use it.
 */
export function parseConfig(env: Environment, platform: PlatformTraits = {}): Config {
  const { isReachable = false } = platform;
  const problems: string[] = [];
  const read = <T>(name: string, parse: (text: string) => T | undefined, expected: string, fallback: T): T => {
    const text = env[name];
    if (text === undefined || text === "") return fallback;
    const value = parse(text);
    if (value === undefined) problems.push(`${name} is ${JSON.stringify(text)}, expected ${expected}`);
    return value ?? fallback;
  };
  const bytes = "a number of bytes, such as 67108864, 64MiB or 10GB";
  const seconds = "seconds, such as 90, or a time such as 5m or 2h, from 1s to 20d";
  const positive = "a whole number, at least 1";
  const atLeast = "at least 32MiB, since one streamed blob can take 24MiB";
  const anonymousPull = read("STOWAGE_ANONYMOUS_PULL", parseBoolean, "true or false", false);
  const allowsAnyone = read("STOWAGE_ALLOW_ANYONE", parseBoolean, "true or false", false);
  const { entries: tokens, problems: ofTokens } = parseTokens(env["STOWAGE_TOKENS"] ?? "");
  problems.push(...ofTokens.map((problem) => `STOWAGE_TOKENS, ${problem}`));
  const { entries: oidc, problems: ofOidc } = parseOidcRules(env["STOWAGE_OIDC"] ?? "");
  problems.push(...ofOidc.map((problem) => `STOWAGE_OIDC, ${problem}`));
  const tokensFile = read<string | undefined>("STOWAGE_TOKENS_FILE", (text) => text, "a path", undefined);
  if (tokensFile !== undefined) {
    problems.push(...problemsOfFile("STOWAGE_TOKENS", tokens, platform.openTokensFile !== undefined));
  }
  const { problems: ofRetention, ...retention } = readRetention(env, platform.hasFiles);
  problems.push(...ofRetention);
  const { patterns: immutableTags, problems: ofPatterns } = parseTagPatterns(env["STOWAGE_IMMUTABLE_TAGS"] ?? "");
  problems.push(...ofPatterns.map((problem) => `STOWAGE_IMMUTABLE_TAGS: ${problem}`));
  const copyTargets = read("STOWAGE_COPY_TARGETS", parseTargets, targetsForm, new Map<string, string>());
  const asks = (tokens ?? oidc ?? tokensFile) !== undefined || anonymousPull;
  const host = read("HOST", (text) => text, "an address", "127.0.0.1");
  const hosts = read<readonly string[] | undefined>("STOWAGE_HOSTS", parseHosts, hostForm, undefined);
  const isOpen = !asks && !isReachable && isLoopback(host);
  const config: Config = {
    storeUrl: read(
      "STOWAGE_STORE",
      parseStoreUrl,
      "a URL: file:DIRECTORY, s3://BUCKET/PREFIX, r2:BINDING or memory:",
      "file:./data",
    ),
    host,
    port: read("PORT", (text) => parseCount(text, 65_535), "a port from 0 to 65535", 8080),
    stopSeconds: read("STOWAGE_STOP_SECONDS", parseStop, "seconds, or a time such as 2m, at most 1d", 30),
    keepAliveSeconds: read("STOWAGE_KEEP_ALIVE_SECONDS", parseTime, seconds, 75),
    maxConnections: read("STOWAGE_MAX_CONNECTIONS", parsePositive, positive, 10_000),
    access: asks ? { tokens: tokens ?? [], anonymousPull, ...(oidc && { oidc }) } : "anyone",
    tokensFile,
    hosts: isOpen || hosts !== undefined ? withOwnNames(hosts ?? [], host) : undefined,
    redirectBlobs: read("STOWAGE_REDIRECT_BLOBS", parseBoolean, "true or false", false),
    immutableTags,
    copyTargets,
    copyAfterLoad: read("STOWAGE_COPY_AFTER_LOAD", (text) => parseTargetNames(text, copyTargets), afterLoadForm, []),
    limits: {
      maxBufferBytes: read("STOWAGE_MAX_BUFFER_BYTES", parseBufferBytes, atLeast, defaultLimits.maxBufferBytes),
      maxManifestBytes: read("STOWAGE_MAX_MANIFEST_BYTES", parseBytes, bytes, defaultLimits.maxManifestBytes),
      maxEntries: read("STOWAGE_MAX_ENTRIES", parseCount, "a whole number", defaultLimits.maxEntries),
      maxIndexDepth: read("STOWAGE_MAX_INDEX_DEPTH", parseCount, "a whole number", defaultLimits.maxIndexDepth),
      maxBodyBytes: read("STOWAGE_MAX_BODY_BYTES", parseBytes, bytes, defaultLimits.maxBodyBytes),
      maxBlobBytes: read("STOWAGE_MAX_BLOB_BYTES", parseBytes, bytes, defaultLimits.maxBlobBytes),
      maxLoads: read("STOWAGE_MAX_LOADS", parseLoads, `a number from 1 to ${maxLoads}`, defaultLimits.maxLoads),
      maxIdleSeconds: read("STOWAGE_MAX_IDLE_SECONDS", parseTime, seconds, defaultLimits.maxIdleSeconds),
      maxLoadSeconds: read("STOWAGE_MAX_LOAD_SECONDS", parseTime, seconds, defaultLimits.maxLoadSeconds),
      maxPaxBytes: read("STOWAGE_MAX_PAX_BYTES", parseBytes, bytes, defaultLimits.maxPaxBytes),
      maxExpansionRatio: read("STOWAGE_MAX_EXPANSION_RATIO", parsePositive, positive, defaultLimits.maxExpansionRatio),
      maxExpandedBytes: read("STOWAGE_MAX_EXPANDED_BYTES", parseBytes, bytes, defaultLimits.maxExpandedBytes),
    },
    gcGraceSeconds: read("STOWAGE_GC_GRACE", parseGrace, "a time such as 90m, 24h or 7d, at least 1h", daySeconds),
    gcEverySeconds: read("STOWAGE_GC_EVERY", parseEvery, "a time such as 90m, 24h or 7d, or never", daySeconds),
    ...retention,
    checkStore: read("STOWAGE_CHECK_STORE", parseBoolean, "true or false", true),
    page: read("STOWAGE_PAGE", parseOnOff, "on or off", true),
    log: read("STOWAGE_LOG", oneOf("auto", "json", "text"), "auto, json or text", "auto"),
    metrics: read("STOWAGE_METRICS", oneOf("token", "public", "off"), "token, public or off", "token"),
    warnings: [],
  };
  if (asks && allowsAnyone) problems.push(contradiction);
  if (!asks && !allowsAnyone && isReachable) problems.push(`Others can reach the service, ${waysOut}`);
  else if (!asks && !allowsAnyone && !isLoopback(config.host)) {
    problems.push(`HOST is "${config.host}", where others can reach the service, ${waysOut}`);
  }
  if (problems.length === 0) return { ...config, warnings: warningsOf(env, config, platform) };
  throw new StowageError("INPUT_INVALID", "Cannot use the settings:", { lines: problems.map((p) => `  ${p}`) });
}

const targetsForm = 'a JSON object of names and stores, such as {"us":"s3://bucket/images?region=us-east-1"}';
const afterLoadForm = "names of STOWAGE_COPY_TARGETS, such as us,ap";

function parseTargets(text: string): ReadonlyMap<string, string> | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  const entries = isJsonObject(json) ? Object.entries(json) : [];
  const targets = new Map<string, string>();
  for (const [name, url] of entries) {
    const store = typeof url === "string" ? parseStoreUrl(url) : undefined;
    if (store !== undefined && /^[a-z0-9][a-z0-9._-]{0,62}$/.test(name)) targets.set(name, store);
  }
  return targets.size > 0 && targets.size === entries.length ? targets : undefined;
}

function parseTargetNames(text: string, targets: ReadonlyMap<string, string>): readonly string[] | undefined {
  const names = text.split(",").map((name) => name.trim());
  return names.every((name) => targets.has(name)) ? names : undefined;
}

function warningsOf(
  env: Environment,
  { storeUrl, access, redirectBlobs }: Config,
  { ignores = [] }: PlatformTraits,
): string[] {
  const warnings = warnOfUnknown(env);
  const isSet = (name: string): boolean => env[name] !== undefined && env[name] !== "";
  const isBucketOfS3 = storeUrl.startsWith("s3:");
  for (const name of ignores.filter(isSet)) warnings.push(`${name} does nothing on this platform`);
  if (access !== "anyone" && access.tokens.length === 0 && isSet("STOWAGE_TOKENS")) {
    warnings.push(`STOWAGE_TOKENS is an empty list: ${describeAccess(access)}, \`stowage token NAME\` makes an entry`);
  }
  for (const name of ["STOWAGE_TOKEN", "STOWAGE_TOKEN_FILE", "STOWAGE_TOKEN_AUDIENCE"].filter(isSet)) {
    const meant = isSet("STOWAGE_TOKENS") ? "" : "; STOWAGE_TOKENS says whom a service lets in";
    warnings.push(`${name} does nothing here: it is for commands with --to, which show a token to a service${meant}`);
  }
  const publicEndpoint = "STOWAGE_PUBLIC_ENDPOINT_URL_S3";
  if (redirectBlobs && (!isBucketOfS3 || env[publicEndpoint] === "none")) {
    const reason = isBucketOfS3 ? `${publicEndpoint} is none` : `${storeUrl} is no bucket of S3`;
    warnings.push(`STOWAGE_REDIRECT_BLOBS does nothing: ${reason}, so that clients are sent to no bucket`);
  }
  if (isSet(publicEndpoint) && !isBucketOfS3) {
    warnings.push(`${publicEndpoint} does nothing: ${storeUrl} is no bucket of S3`);
  }
  return warnings;
}

const contradiction =
  "STOWAGE_ALLOW_ANYONE is true, so that anyone may do everything, beside STOWAGE_TOKENS, STOWAGE_TOKENS_FILE, STOWAGE_OIDC or " +
  "STOWAGE_ANONYMOUS_PULL, by which not everybody may: expected one or the other";

const waysOut =
  "and nothing asks them who they are: set STOWAGE_TOKENS to whom you let in (`stowage token NAME` makes an entry), " +
  "STOWAGE_OIDC to the identities that you let in without a stored secret, " +
  "STOWAGE_ANONYMOUS_PULL=true if everybody who can reach it may pull, " +
  "or STOWAGE_ALLOW_ANYONE=true if everybody who can reach it may load and delete as well";

function parseStoreUrl(text: string): string | undefined {
  return /^(?:file:.|s3:\/\/.|r2:.|memory:$)/.test(text) ? text : undefined;
}

function parseCount(text: string, max = Number.MAX_SAFE_INTEGER): number | undefined {
  return /^\d+$/.test(text) && Number(text) <= max ? Number(text) : undefined;
}

function parseBufferBytes(text: string): number | undefined {
  const bytes = parseBytes(text);
  return bytes !== undefined && bytes >= 32 * 2 ** 20 ? bytes : undefined;
}

/**
 * The largest number of loads at once. It is far below the number of connections to a store, because a load can hold
 * one connection while it waits for another.
 */
const maxLoads = 128;

function parseLoads(text: string): number | undefined {
  return parseCount(text, maxLoads) || undefined;
}

/** 20 days: some timers overflow after 24 days. */
const maxSeconds = 20 * 24 * 60 * 60;

function parseTime(text: string): number | undefined {
  const seconds = parseSeconds(text);
  return seconds !== undefined && seconds >= 1 && seconds <= maxSeconds ? seconds : undefined;
}

function parseStop(text: string): number | undefined {
  const seconds = parseSeconds(text);
  return seconds !== undefined && seconds <= 86_400 ? seconds : undefined;
}

const daySeconds = 24 * 60 * 60;

/** The shortest grace time, see `layout/marks.ts`. */
const minGraceSeconds = 60 * 60;

function parseGrace(text: string): number | undefined {
  const seconds = parseSeconds(text);
  return seconds !== undefined && seconds >= minGraceSeconds ? seconds : undefined;
}

function parseEvery(text: string): number | undefined {
  return text === "never" ? 0 : parseSeconds(text);
}

function parsePositive(text: string): number | undefined {
  return parseCount(text) || undefined;
}

function parseOnOff(text: string): boolean | undefined {
  return text === "on" || text === "off" ? text === "on" : undefined;
}

function oneOf<T extends string>(...values: readonly T[]): (text: string) => T | undefined {
  return (text) => values.find((value) => value === text);
}

function parseBoolean(text: string): boolean | undefined {
  return text === "true" ? true : text === "false" ? false : undefined;
}
