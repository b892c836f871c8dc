/**
 * Reads images from a registry, or from a Stowage service (distribution specification, "Pull" and "Content Discovery").
 */
import { type Digest, algorithmOf, digestForm, digestOf, isDigest, isOtherDigest } from "../digest.ts";
import { StowageError, limitExceeded, quote } from "../errors.ts";
import type { ManifestIdentity } from "../oci/descriptor.ts";
import { jsonIn } from "../oci/error-body.ts";
import { defaultLimits } from "../limits.ts";
import { referrersTag } from "../oci/index-entry.ts";
import { dockerListType, dockerManifestType, ociIndexType, ociManifestType, parseManifest } from "../oci/manifest.ts";
import { isRepositoryName, isTag, parseTag } from "../oci/reference.ts";
import type { CallOptions } from "../storage/object-store.ts";
import { concurrently } from "../streams/concurrently.ts";
import { type ByteChunks, noBytes } from "../streams/readable-stream.ts";
import type { ExpectedBytes } from "../streams/verify-bytes.ts";
import { type Answer, isSuccess } from "./answer.ts";
import { BlobBody, withoutFirst } from "./blob-body.ts";
import type { ImageSource, ListedEntry, ListedReferrer, SourceManifest } from "./image-source.ts";
import type { OpenAnswer } from "./open-answer.ts";
import { descriptorsIn, lengthOf, mediaTypeOf, namesIn, nextQuery, rangeOf } from "./registry-answers.ts";
import type { RegistryAddress } from "./registry-address.ts";
import { RegistryClient, type RegistryClientOptions, type RegistryRequest } from "./registry-client.ts";

/** Pages of one list. */
const maxPages = 2000;
/** Manifests whose referrers are asked for at the same time. */
const maxConcurrentLists = 8;
/** Bytes of all pages of one list. */
const maxListBytes = 32 * 1024 * 1024;
/** Names that are asked for on a page. Registries may send fewer. */
const pageNames = 1000;

const manifestTypes = [ociIndexType, ociManifestType, dockerListType, dockerManifestType].join(", ");

export interface RegistrySourceOptions extends RegistryClientOptions {
  /** Default: that of `defaultLimits`. */
  readonly maxManifestBytes?: number | undefined;
}

export class RegistrySource implements ImageSource {
  readonly #client: RegistryClient;
  readonly #maxManifestBytes: number;

  constructor(address: RegistryAddress, options: RegistrySourceOptions = {}) {
    this.#client = new RegistryClient(address, options);
    this.#maxManifestBytes = options.maxManifestBytes ?? defaultLimits.maxManifestBytes;
  }

  get name(): string {
    return this.#client.name;
  }

  async listRepositories({ signal }: CallOptions = {}): Promise<readonly string[]> {
    const request = { path: "_catalog", scope: "registry:catalog:*", what: "the list of repositories", signal };
    const names = await this.#readPages(request, `n=${pageNames}`, (json) => namesIn(json, "repositories"));
    if (names === undefined) {
      throw new StowageError("UNSUPPORTED", `Cannot list the repositories of ${this.name}: it has no such list`);
    }
    return names.filter((name) => isRepositoryName(name));
  }

  async listEntries(repository: string, { signal }: CallOptions = {}): Promise<readonly ListedEntry[]> {
    const request = this.#request(repository, "tags/list", { what: "the list of tags", signal });
    const tags = await this.#readPages(request, `n=${pageNames}`, (json) => namesIn(json, "tags"));
    if (tags === undefined) throw new StowageError("NAME_UNKNOWN", `Cannot find repository "${repository}"`);
    return tags.filter((tag) => isTag(tag)).map((reference) => ({ reference }));
  }

  async listReferrers(
    repository: string,
    digests: ReadonlySet<Digest>,
    { signal }: CallOptions = {},
  ): Promise<readonly ListedReferrer[]> {
    const found: (readonly ListedReferrer[])[] = [];
    await concurrently([...digests].entries(), maxConcurrentLists, async ([i, digest]) => {
      const bySubject = await this.#referrersOf(repository, digest, signal);
      found[i] = [...bySubject, ...(await this.#cosignReferrersOf(repository, digest, signal))];
    });
    return found.flat();
  }

  /** A registry without the list keeps an index of the referrers under a tag ("Referrers Tag Schema"). */
  async #referrersOf(
    repository: string,
    digest: Digest,
    signal: AbortSignal | undefined,
  ): Promise<readonly ListedReferrer[]> {
    const what = `the list of referrers of "${checkDigest(digest)}"`;
    const request = this.#request(repository, `referrers/${digest}`, { what, signal });
    const referrers = await this.#readPages(request, "", (json) => descriptorsIn(json, what));
    const index = referrers ?? (await this.readManifest(repository, referrersTag(digest), { signal }))?.manifest;
    const listed = index !== undefined && "kind" in index ? (index.kind === "index" ? index.manifests : []) : index;
    return (listed ?? []).map(({ mediaType, digest: own, size }) => ({ mediaType, digest: own, size }));
  }

  /** Cosign's tags for signatures, attestations and bills of materials. */
  async #cosignReferrersOf(
    repository: string,
    digest: Digest,
    signal: AbortSignal | undefined,
  ): Promise<readonly ListedReferrer[]> {
    const tags = ["sig", "att", "sbom"].map((kind) => `${referrersTag(digest)}.${kind}`);
    const found = await Promise.all(
      tags.map(async (tag) => {
        const identity = await this.headManifest(repository, tag, { signal });
        return identity === undefined ? [] : [{ ...identity, tag }];
      }),
    );
    return found.flat();
  }

  async headManifest(
    repository: string,
    reference: string,
    { signal }: CallOptions = {},
  ): Promise<ManifestIdentity | undefined> {
    const request = this.#manifestRequest(repository, reference, signal);
    const answer = await this.#client.read({ ...request, method: "HEAD", maxBytes: 0 });
    if (answer.status === 404) return undefined;
    const digest = isDigest(reference) ? reference : answer.headers.get("Docker-Content-Digest");
    const size = lengthOf(answer);
    if (isSuccess(answer) && isDigest(digest) && size !== undefined) {
      return { digest, mediaType: mediaTypeOf(answer), size };
    }
    const found = await this.readManifest(repository, reference, { signal });
    return found && { digest: found.digest, mediaType: found.mediaType, size: found.size };
  }

  async readManifest(
    repository: string,
    reference: string,
    { signal }: CallOptions = {},
  ): Promise<SourceManifest | undefined> {
    const request = this.#manifestRequest(repository, reference, signal);
    const answer = await this.#client.read({ ...request, maxBytes: this.#maxManifestBytes });
    if (answer.status === 404) return undefined;
    if (!isSuccess(answer)) throw this.#client.refused(answer, request);
    const { bytes } = answer;
    const claimed = isDigest(reference) ? reference : answer.headers.get("Docker-Content-Digest");
    const expected = isDigest(claimed) ? claimed : undefined;
    const digest = await digestOf(bytes, expected && algorithmOf(expected));
    if (expected !== undefined && expected !== digest) {
      const reason = `its ${bytes.length} bytes have digest "${digest}", expected ${quote(expected)}`;
      throw this.#client.failed("DIGEST_INVALID", reason, request);
    }
    const manifest = parseManifest(bytes, digest, mediaTypeOf(answer));
    return { digest, mediaType: manifest.mediaType, size: bytes.length, bytes, manifest };
  }

  /**
   * A bucket behind a registry may refuse HEAD, since the URL in the redirect is signed for GET. Then one byte is read.
   */
  async headBlob(repository: string, digest: Digest, { signal }: CallOptions = {}): Promise<number | undefined> {
    const request = this.#blobRequest(repository, digest, signal);
    const head = await this.#client.read({ ...request, method: "HEAD", maxBytes: 0 });
    if (isAbsent(head)) return undefined;
    const length = isSuccess(head) ? lengthOf(head) : undefined;
    if (length !== undefined) return length;
    const answer = await this.#client.open({ ...request, headers: { ...request.headers, Range: "bytes=0-0" } });
    if (isAbsent(answer)) return undefined;
    if (!("body" in answer)) throw this.#client.refused(answer, request);
    await answer.body.return();
    const size = answer.status === 206 ? rangeOf(answer)?.size : lengthOf(answer);
    if (size === undefined) throw this.#client.failed("STORE_UNAVAILABLE", "it does not say how long", request);
    return size;
  }

  async readBlob(
    repository: string,
    { digest, size }: ExpectedBytes,
    { start = 0, signal = AbortSignal.any([]) }: CallOptions & { readonly start?: number | undefined } = {},
  ): Promise<AsyncIterable<Uint8Array> | undefined> {
    if (start >= size && start > 0) {
      return (await this.headBlob(repository, digest, { signal })) === undefined ? undefined : noBytes();
    }
    const request = this.#blobRequest(repository, digest, signal);
    const body = await this.#openBlob(request, size, start);
    if (body === undefined) return undefined;
    return new BlobBody(body, {
      start,
      size,
      reopen: async (at) => {
        const again = await this.#openBlob(request, size, at);
        if (again === undefined) throw this.#client.failed("BLOB_UNKNOWN", `it was gone after ${at} bytes`, request);
        return again;
      },
      pause: async (tries) => this.#client.pause(tries, signal),
      tooLong: () => this.#client.failed("SIZE_INVALID", `it has more than ${size} bytes`, request),
      gaveUp: (error) => this.#client.noAnswer(error, request),
    });
  }

  async #openBlob(request: RegistryRequest, size: number, start: number): Promise<ByteChunks | undefined> {
    // With its end: crane's registry refuses a range without one.
    const range = start > 0 ? { Range: `bytes=${start}-${size - 1}` } : {};
    const answer = await this.#client.open({ ...request, headers: { ...request.headers, ...range } });
    if (isAbsent(answer)) return undefined;
    if (!("body" in answer)) {
      if (answer.status !== 416) throw this.#client.refused(answer, request);
      throw this.#client.failed("SIZE_INVALID", `it has at most ${start} bytes, expected ${size}`, request);
    }
    const isPart = answer.status === 206;
    const sent = isPart ? rangeOf(answer) : { start: 0, size: lengthOf(answer) };
    if (sent?.start === (isPart ? start : 0) && (sent.size ?? size) === size) {
      return isPart ? answer.body : withoutFirst(answer.body, start);
    }
    await answer.body.return();
    const found = sent?.size === undefined || sent.size === size ? "another range" : `${sent.size} bytes`;
    throw this.#client.failed("SIZE_INVALID", `found ${found}, expected ${size} bytes from byte ${start} on`, request);
  }

  /**
   * Reads a list page by page. Undefined if the registry has no such list. Of the link to the next page, only the query
   * is used: behind a proxy, a registry may not know its own address.
   */
  async #readPages<T>(
    request: RegistryRequest,
    firstQuery: string,
    itemsOf: (json: unknown) => readonly T[] | undefined,
  ): Promise<T[] | undefined> {
    const items: T[] = [];
    let bytes = 0;
    let query = firstQuery;
    for (let page = 1; page <= maxPages; page++) {
      const path = `${request.path}${query === "" ? "" : `?${query}`}`;
      const answer = await this.#client.read({ ...request, path, maxBytes: maxListBytes - bytes });
      if (page === 1 && [404, 405, 501].includes(answer.status)) return undefined;
      if (!isSuccess(answer)) throw this.#client.refused(answer, request);
      const found = itemsOf(jsonIn(answer.bytes));
      if (found === undefined) {
        throw this.#client.failed("STORE_UNAVAILABLE", "its answer has no such list: is this a registry?", request);
      }
      for (const item of found) items.push(item);
      bytes += answer.bytes.length;
      const next = nextQuery(answer.headers.get("Link") ?? "");
      if (next === undefined) return items;
      query = next;
    }
    throw limitExceeded(`Cannot read ${request.what} from ${this.name}: it has more pages`, { expected: maxPages });
  }

  #manifestRequest(repository: string, reference: string, signal: AbortSignal | undefined): RegistryRequest {
    const checked = reference.includes(":") ? checkDigest(reference) : parseTag(reference);
    const request = this.#request(repository, `manifests/${checked}`, { what: `manifest "${checked}"`, signal });
    return { ...request, headers: { Accept: manifestTypes } };
  }

  #blobRequest(repository: string, digest: Digest, signal: AbortSignal | undefined): RegistryRequest {
    const request = this.#request(repository, `blobs/${checkDigest(digest)}`, { what: `blob "${digest}"`, signal });
    return { ...request, headers: { "Accept-Encoding": "identity" } }; // else length and ranges would be of other bytes
  }

  #request(
    repository: string,
    path: string,
    { what, signal }: { readonly what: string; readonly signal: AbortSignal | undefined },
  ): RegistryRequest {
    if (!isRepositoryName(repository)) {
      throw new StowageError("NAME_INVALID", `Cannot use ${quote(repository)} as a repository of ${this.name}`);
    }
    const scope = `repository:${repository}:pull`;
    return { path: `${repository}/${path}`, scope, what: `${what} of "${repository}"`, signal };
  }
}

/** A bucket's 404 says nothing about the registry. */
function isAbsent({ status, foreignOrigin }: Answer | OpenAnswer): boolean {
  return status === 404 && foreignOrigin === undefined;
}

function checkDigest(text: string): Digest {
  if (isDigest(text)) return text;
  const code = isOtherDigest(text) ? "UNSUPPORTED" : "DIGEST_INVALID";
  throw new StowageError(code, `Cannot read ${quote(text)}: expected ${digestForm}`);
}
