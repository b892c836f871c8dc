/** The source of the images for `stowage ls`: a store, in this process, or a running service. */
import { type Digest, isDigest } from "../../digest.ts";
import { StowageError } from "../../errors.ts";
import { readSmallBlob } from "../../layout/blobs.ts";
import type { Layout } from "../../layout/layout.ts";
import { listRepositories } from "../../layout/list-repositories.ts";
import { readManifest } from "../../layout/read-manifest.ts";
import { readRepository } from "../../layout/read-repository.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import { subjectOf, tagOf } from "../../oci/index-entry.ts";
import { isJsonObject } from "../../oci/json.ts";
import { type Manifest, parseManifest } from "../../oci/manifest.ts";
import { type CommandIo, checkOneTarget } from "../command.ts";
import { openExisting } from "../open-settings.ts";
import type { Answer } from "../send/exchange.ts";
import { isSuccess, jsonOf, openService, reasonOf } from "../send/service-client.ts";

export interface ImageSource {
  /** For messages. */
  readonly name: string;
  /** The names of all repositories, in order. */
  repositories(): Promise<readonly string[]>;
  /** The images of a repository. Throws `NAME_UNKNOWN`, `STORE_DAMAGED` or `LIMIT_EXCEEDED`. */
  entries(repository: string): Promise<readonly ListedEntry[]>;
  /** The manifest behind a tag or a digest, without reading it if possible. Undefined if it is gone. */
  resolve(repository: string, reference: string): Promise<ManifestIdentity | undefined>;
  /** A manifest by tag or digest. Undefined if it is gone or malformed. */
  manifest(repository: string, reference: string): Promise<FoundManifest | undefined>;
  /** A small blob, such as a config. Undefined if it is gone, or larger than a manifest may be. */
  smallBlob(repository: string, digest: Digest): Promise<Uint8Array | undefined>;
}

export interface ManifestIdentity {
  readonly digest: Digest;
  readonly mediaType: string;
  /** Length of the manifest in bytes. */
  readonly size: number;
}

/** An image in a list. A service lists only tags, without the rest. */
export interface ListedEntry extends Partial<ManifestIdentity> {
  readonly repository: string;
  /** The tag, or the digest of an image without a tag. */
  readonly reference: string;
  /** For a referrer, the digest of its subject. */
  readonly subject?: Digest | undefined;
}

export interface FoundManifest extends ManifestIdentity {
  readonly manifest: Manifest;
}

/** The store or service that the options name, else the store of the settings. Throws `INPUT_INVALID`. */
export async function openImageSource(
  options: { readonly store?: string; readonly to?: string },
  io: CommandIo,
): Promise<ImageSource> {
  checkOneTarget(options);
  if (options.to !== undefined) return serviceSource(options.to, io);
  const { layout } = await openExisting(io, options.store);
  return storeSource(layout, io);
}

function storeSource(layout: Layout, { signal }: CommandIo): ImageSource {
  const { store, limits } = layout;
  const entries = async (repository: string): Promise<readonly ListedEntry[]> => {
    const index = await readRepository(layout, repository, { signal });
    return index.entries.map((entry) => toEntry(repository, entry));
  };
  const resolve = async (repository: string, reference: string): Promise<ManifestIdentity | undefined> => {
    const found = (await entries(repository)).find((it) => it.reference === reference || it.digest === reference);
    return found && isComplete(found) ? found : undefined;
  };
  return {
    name: store.url,
    repositories: async () => listRepositories(layout, { signal }),
    entries,
    resolve,
    async manifest(repository, reference) {
      const digest = isDigest(reference) ? reference : (await resolve(repository, reference))?.digest;
      if (digest === undefined) return undefined;
      const found = await readManifest(layout, { digest }, { signal });
      if (found === undefined) return undefined;
      const { manifest, bytes } = found;
      return { digest, mediaType: manifest.mediaType, size: bytes.length, manifest };
    },
    async smallBlob(_, digest) {
      try {
        return await readSmallBlob(store, digest, { maxBytes: limits.maxManifestBytes, signal });
      } catch (error) {
        if (error instanceof StowageError && error.code === "LIMIT_EXCEEDED") return undefined;
        throw error;
      }
    },
  };
}

function toEntry(repository: string, entry: Descriptor): ListedEntry {
  const { digest, mediaType, size } = entry;
  return { repository, reference: tagOf(entry) ?? digest, digest, mediaType, size, subject: subjectOf(entry) };
}

export function isComplete(entry: ListedEntry): entry is ListedEntry & ManifestIdentity {
  return entry.digest !== undefined && entry.mediaType !== undefined && entry.size !== undefined;
}

/** Names on a page. */
const pageNames = 1000;

/** Reads a running service by the distribution specification. Throws `INPUT_INVALID` for a URL that cannot be used. */
function serviceSource(url: string, { env, signal }: CommandIo): ImageSource {
  const service = openService(url, { env, purpose: "list" });

  const get = async (path: string, method: "GET" | "HEAD" = "GET"): Promise<Answer> =>
    service.ask(path, { method, isFirst: true, signal });

  /** Follows the links from page to page. */
  const listNames = async (path: string, key: "repositories" | "tags"): Promise<string[]> => {
    const names: string[] = [];
    for (let query = `n=${pageNames}`; ;) {
      const answer = await get(`${path}?${query}`);
      if (!isSuccess(answer)) {
        if (reasonOf(answer) !== "NAME_UNKNOWN") throw service.refused(answer);
        throw new StowageError("NAME_UNKNOWN", `Cannot find repository ${JSON.stringify(nameIn(path))}`);
      }
      const json = jsonOf(answer);
      const page = isJsonObject(json) ? json[key] : undefined;
      if (!Array.isArray(page)) throw service.failed(`it answered without a list of ${key}: is this a Stowage?`);
      names.push(...page.filter((name) => typeof name === "string"));
      const [, next] = /^<[^>]*\?([^>]*)>/.exec(String(answer.headers["link"] ?? "")) ?? [];
      if (next === undefined || page.length === 0) return names;
      query = next;
    }
  };

  /** Undefined if the manifest is gone: it may have been removed since the list was read. */
  const askManifest = async (path: string, method: "GET" | "HEAD"): Promise<Answer | undefined> => {
    const answer = await get(path, method);
    if (answer.status === 404) return undefined;
    if (!isSuccess(answer)) throw service.refused(answer);
    return answer;
  };

  return {
    name: service.name,
    repositories: async () => listNames("v2/_catalog", "repositories"),
    entries: async (repository) => {
      const tags = await listNames(`v2/${repository}/tags/list`, "tags");
      return tags.map((reference) => ({ repository, reference }));
    },
    async resolve(repository, reference) {
      const answer = await askManifest(`v2/${repository}/manifests/${reference}`, "HEAD");
      return answer && identityOf(answer);
    },
    async manifest(repository, reference) {
      const answer = await askManifest(`v2/${repository}/manifests/${reference}`, "GET");
      const identity = answer && identityOf(answer);
      if (answer === undefined || identity === undefined) return undefined;
      const manifest = readOrUndefined(answer.bytes, identity);
      return manifest && { ...identity, size: answer.bytes.length, manifest };
    },
    async smallBlob(repository, digest) {
      const answer = await get(`v2/${repository}/blobs/${digest}`);
      return isSuccess(answer) ? answer.bytes : undefined; // a large one may be redirected to the bucket
    },
  };
}

function nameIn(path: string): string {
  return path.replace(/^v2\//, "").replace(/\/tags\/list$/, "");
}

function identityOf({ headers }: Answer): ManifestIdentity | undefined {
  const digest = headers["docker-content-digest"];
  if (!isDigest(digest)) return undefined;
  return { digest, mediaType: headers["content-type"] ?? "", size: Number(headers["content-length"] ?? 0) };
}

function readOrUndefined(bytes: Uint8Array, { digest, mediaType }: ManifestIdentity): Manifest | undefined {
  try {
    return parseManifest(bytes, digest, mediaType);
  } catch (error) {
    if (error instanceof StowageError) return undefined;
    throw error;
  }
}
