/**
 * Gives images of a registry more names (distribution specification, "Pushing Manifests" and "Mounting a blob from
 * another repository"). No blob is sent.
 */
import type { Digest } from "../digest.ts";
import type { Expectation } from "../oci/index-change.ts";
import type { CallOptions } from "../storage/object-store.ts";
import { isSuccess } from "./answer.ts";
import type { SourceManifest } from "./image-source.ts";
import type { RegistryAddress } from "./registry-address.ts";
import { RegistryClient, type RegistryClientOptions } from "./registry-client.ts";

/** The body of an answer to a write: an error, at most. */
const maxAnswerBytes = 64 * 1024;

/** A blob of another repository of the registry. */
export interface MountedBlob {
  readonly digest: Digest;
  readonly from: string;
}

export class RegistryWriter {
  readonly #client: RegistryClient;

  constructor(address: RegistryAddress, options: RegistryClientOptions = {}) {
    this.#client = new RegistryClient(address, options);
  }

  /** Throws `UNSUPPORTED` if the registry wants the bytes of the blob instead. */
  async mountBlob(repository: string, { digest, from }: MountedBlob, { signal }: CallOptions = {}): Promise<void> {
    const request = {
      method: "POST",
      path: `${repository}/blobs/uploads/?mount=${digest}&from=${encodeURIComponent(from)}`,
      headers: { "Content-Length": "0" },
      scope: `${writeScope(repository)} repository:${from}:pull`,
      what: `blob "${digest}" of "${repository}"`,
      signal,
    } as const;
    const answer = await this.#client.read({ ...request, maxBytes: maxAnswerBytes });
    if (answer.status === 201) return;
    if (!isSuccess(answer)) throw this.#client.refused(answer, request);
    throw this.#client.failed("UNSUPPORTED", `it does not take the blob of "${from}" without its bytes`, request);
  }

  /** `reference` is a tag or the digest of the manifest. */
  async putManifest(
    repository: string,
    reference: string,
    { mediaType, bytes }: SourceManifest,
    { expects, signal }: CallOptions & { readonly expects?: Expectation | undefined } = {},
  ): Promise<void> {
    const request = {
      method: "PUT",
      path: `${repository}/manifests/${reference}`,
      headers: { "Content-Type": mediaType, ...conditionOf(expects) },
      body: Uint8Array.from(bytes),
      scope: writeScope(repository),
      what: `manifest "${reference}" of "${repository}"`,
      signal,
    } as const;
    const answer = await this.#client.read({ ...request, maxBytes: maxAnswerBytes });
    if (!isSuccess(answer)) throw this.#client.refused(answer, request);
  }
}

function writeScope(repository: string): string {
  return `repository:${repository}:pull,push`;
}

function conditionOf(expects: Expectation | undefined): Record<string, string> {
  if (expects === undefined) return {};
  return expects === "absent" ? { "If-None-Match": "*" } : { "If-Match": `"${expects.digest}"` };
}
