/** The images of a running service, by the distribution specification: catalog, tags, manifests and blobs. */
import { StowageError } from "../../errors.ts";
import { isJsonObject } from "../../oci/json.ts";
import { type Manifest, parseManifest } from "../../oci/manifest.ts";
import type { CommandIo } from "../command.ts";
import type { Answer } from "../send/exchange.ts";
import { isSuccess, jsonOf, openService, reasonOf } from "../send/service-client.ts";
import type { ImageSource, ManifestIdentity } from "./image-source.ts";

/** Names on a page. */
const pageNames = 1000;

/** Throws `INPUT_INVALID` for a URL that cannot be used. What the service refuses is `STORE_UNAVAILABLE` later. */
export function serviceSource(url: string, { env, signal }: CommandIo): ImageSource {
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

  /** Undefined if it is not there: somebody may have removed it meanwhile. */
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
      return isSuccess(answer) ? answer.bytes : undefined; // a large one may be elsewhere, in the bucket
    },
  };
}

function nameIn(path: string): string {
  return path.replace(/^v2\//, "").replace(/\/tags\/list$/, "");
}

function identityOf({ headers }: Answer): ManifestIdentity | undefined {
  const digest = headers["docker-content-digest"];
  if (typeof digest !== "string") return undefined;
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
