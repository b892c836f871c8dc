/** What a behaviour is tried on: a service that runs on some runtime, spoken to by HTTP alone. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { isJsonObject } from "../../src/oci/json.ts";
import { sha256 } from "../support/bytes.ts";
import type { Issuer } from "../support/issuer.ts";

/** One thing that is to be the same on every runtime. */
export interface Behaviour {
  readonly name: string;
  readonly run: (trial: Trial) => Promise<void>;
  /** The runtimes that have it, if not all do, such as the events that only Lambda gets. */
  readonly only?: readonly string[];
  /** Those that cannot have it. */
  readonly except?: readonly string[];
}

/** A runtime's name and the service on it. */
export interface Trial {
  readonly url: string;
  /** What the platform lets through at once; a larger tarball goes up in parts. */
  readonly maxRequestBytes?: number | undefined;
  /**
   * What lies in the bucket, where that can be seen from outside: keys, and uploads that are neither completed nor aborted.
   */
  readonly bucket?: Bucket | undefined;
  /** What the service has written so far. */
  readonly log: () => string;
  /** The issuer whose tokens `ruleOf` lets in, if the service has that rule. */
  readonly issuer?: Issuer | undefined;
}

export interface Bucket {
  keys(): Promise<string[]>;
  openUploads(): Promise<number>;
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** Its name, and the keys' prefix in it. */
  readonly name: string;
  readonly prefix: string;
}

export const mebibyte = 1024 * 1024;

/** Secrets, and what the service is told of them. */
export const secrets = {
  owner: "owner-secret",
  reader: "reader-secret",
  team: "team-secret",
  metrics: "metrics-secret",
} as const;
export const tokens = [
  token("owner", ["pull", "load", "delete"], ["**"]),
  token("reader", ["pull"], ["**"]),
  token("team", ["pull", "load"], ["team/**"]),
  token("metrics", ["metrics"], ["**"]),
];

/** Lets jobs of CI into the repositories of their own. */
export function ruleOf({ url }: Issuer): object {
  return {
    issuer: url,
    audience: "stowage",
    claims: { repository_owner: "acme" },
    actions: ["pull", "load"],
    repositories: ["${repository}"],
  };
}

/** Small, so that a test reaches them soon. */
export const limits = { maxEntries: 200, maxManifestBytes: 64 * 1024, maxBufferBytes: 32 * mebibyte } as const;

/** The settings that all runtimes get, besides their store. */
export const settings: Readonly<Record<string, string>> = {
  STOWAGE_TOKENS: JSON.stringify(tokens),
  STOWAGE_IMMUTABLE_TAGS: "release-*",
  STOWAGE_MAX_ENTRIES: String(limits.maxEntries),
  STOWAGE_MAX_MANIFEST_BYTES: String(limits.maxManifestBytes),
  STOWAGE_MAX_BUFFER_BYTES: String(limits.maxBufferBytes),
};

export interface AskOptions {
  readonly method?: string;
  readonly body?: Uint8Array | string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The owner's without it; `undefined` shows none. */
  readonly secret?: string | undefined;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Buffer;
  /** The body, where it is JSON. */
  readonly json: Readonly<Record<string, unknown>>;
  /** `LIMIT_EXCEEDED`, where it is an error. */
  readonly code: string | undefined;
}

/** Asks the service, or an address that it gave out, as its owner unless `secret` says otherwise. */
export async function ask({ url }: Pick<Trial, "url">, path: string, options: AskOptions = {}): Promise<Answer> {
  const secret = "secret" in options ? options.secret : secrets.owner;
  const isOwn = path.startsWith("/");
  const response = await fetch(isOwn ? url + path : path, {
    method: options.method ?? "GET",
    headers: { ...(isOwn && secret !== undefined && { Authorization: `Bearer ${secret}` }), ...options.headers },
    ...(options.body !== undefined && { body: new Uint8Array(Buffer.from(options.body)) }),
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  const json = parse(bytes);
  const [error] = Array.isArray(json["errors"]) ? (json["errors"] as readonly unknown[]) : [];
  const code = isJsonObject(error) ? String(error["code"]) : undefined;
  return { status: response.status, headers: response.headers, bytes, json, code };
}

/** Loads a tarball as a client does: at once, or in parts where the platform would cut it off. */
export async function load(
  trial: Trial,
  tarball: Uint8Array,
  name?: string,
  options: AskOptions = {},
): Promise<Answer> {
  const path = name === undefined ? "" : `/${name}`;
  if (trial.maxRequestBytes === undefined || tarball.length <= trial.maxRequestBytes) {
    return ask(trial, `/v1/load${path}?verbose=true`, { ...options, method: "PUT", body: tarball });
  }
  const upload = await sendParts(trial, tarball);
  return ask(trial, `/v1/uploads/${upload.id}/load${path}?verbose=true`, { ...options, method: "POST" });
}

/** As `load`, and expects that it works. */
export async function loaded(trial: Trial, tarball: Uint8Array, name?: string): Promise<Answer> {
  const answer = await load(trial, tarball, name);
  expect([200, 201], answer.bytes.toString()).toContain(answer.status);
  return answer;
}

export interface UploadAnswer {
  readonly id: string;
  readonly size: number;
  readonly partBytes: number;
  readonly parts: readonly {
    readonly number: number;
    readonly offset: number;
    readonly size: number;
    readonly url: string;
    readonly present: boolean;
  }[];
}

export async function beginUpload(trial: Trial, size: number): Promise<UploadAnswer> {
  const { status, json, bytes } = await ask(trial, "/v1/uploads", { method: "POST", body: JSON.stringify({ size }) });
  expect(status, bytes.toString()).toBe(201);
  return json as unknown as UploadAnswer;
}

/** Puts one part where the service said. */
export async function sendPart(trial: Trial, part: UploadAnswer["parts"][number], whole: Uint8Array): Promise<void> {
  const body = whole.subarray(part.offset, part.offset + part.size);
  const { status, bytes } = await ask(trial, part.url, { method: "PUT", body });
  expect([200, 201], bytes.toString()).toContain(status);
}

async function sendParts(trial: Trial, whole: Uint8Array): Promise<UploadAnswer> {
  const upload = await beginUpload(trial, whole.length);
  for (const part of upload.parts) await sendPart(trial, part, whole);
  return upload;
}

/** Asks again and again until it holds, for at most twenty seconds. */
export async function eventually(holds: () => Promise<boolean>, what: string): Promise<void> {
  for (const deadline = Date.now() + 20_000; !(await holds()); await sleep(100)) {
    if (Date.now() > deadline) throw new Error(`waited twenty seconds for this: ${what}`);
  }
}

function token(name: keyof typeof secrets, actions: readonly string[], repositories: readonly string[]): object {
  return { name, sha256: sha256(Buffer.from(secrets[name])).slice("sha256:".length), actions, repositories };
}

function parse(bytes: Buffer): Readonly<Record<string, unknown>> {
  try {
    const json: unknown = JSON.parse(bytes.toString());
    return isJsonObject(json) ? json : {};
  } catch {
    return {};
  }
}
