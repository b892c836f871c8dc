/** Goes from manifest to manifest and notes every blob on its way. */
import { StowageError, messageOf } from "../errors.ts";
import type { Layout } from "../layout/layout.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type Manifest, isManifestType, parseManifest } from "../oci/manifest.ts";
import { readSmallBlob } from "../storage/read-small-blob.ts";
import { concurrently } from "../streams/concurrently.ts";
import { DigestSet } from "./digest-set.ts";

/** Manifests that are read at the same time: each may have some mebibytes. */
const maxConcurrentReads = 16;

/** Some 150 bytes of memory each. */
const maxManifests = 1_000_000;

export interface VisitOptions {
  /** Does what a manifest says something about belong to it, where it is there? */
  readonly withSubjects?: boolean;
}

export class ManifestWalk {
  /** All that was visited, and all that it needs. */
  readonly needed = new DigestSet();
  /** By digest, why nobody can tell what the manifest needs. */
  readonly damaged = new Map<string, StowageError>();
  readonly #layout: Layout;
  readonly #signal: AbortSignal | undefined;
  /** By digest of a manifest, whether it is there. Whole digests: a manifest that is taken for another is not read. */
  readonly #seen = new Map<string, boolean>();

  constructor(layout: Layout, signal: AbortSignal | undefined) {
    this.#layout = layout;
    this.#signal = signal;
  }

  /** Visits the manifests, which have to be there, and all below them; an index may name others that are not. */
  async visit(roots: readonly Descriptor[], { withSubjects = true }: VisitOptions = {}): Promise<void> {
    await concurrently(roots, maxConcurrentReads, async (root) => this.#visitTree(root, withSubjects));
    for (const { digest } of roots) {
      if (this.#seen.get(digest) === false) this.#note(digest, "an index names it, and it is not there");
    }
  }

  /** Visits those of the blobs that are manifests, as if an index named them. */
  async visitManifestsAmong(digests: readonly string[]): Promise<void> {
    await concurrently(digests, maxConcurrentReads, async (digest) => {
      if (this.#seen.has(digest)) return;
      const bytes = await this.#readBytes(digest);
      if (bytes !== undefined && isManifest(bytes, digest))
        await this.#visitTree({ digest, mediaType: "", size: 0 }, true);
    });
  }

  /** One after the other: an index can name very many. A root is read whatever its type is called: it names something. */
  async #visitTree(root: Descriptor, withSubjects: boolean): Promise<void> {
    const waiting = [root];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      this.needed.add(next.digest);
      if ((next !== root && !isManifestType(next.mediaType)) || this.#seen.has(next.digest)) continue;
      const manifest = await this.#read(next);
      if (manifest === undefined) continue;
      if (manifest.kind === "index") waiting.push(...manifest.manifests);
      else for (const { digest } of manifest.blobs) this.needed.add(digest);
      if (withSubjects && manifest.subject !== undefined) waiting.push(manifest.subject);
    }
  }

  async #read({ digest, mediaType }: Descriptor): Promise<Manifest | undefined> {
    if (this.#seen.size === maxManifests) throw tooMany();
    this.#seen.set(digest, true); // nobody else need read it
    const bytes = await this.#readBytes(digest);
    if (bytes === undefined && !this.damaged.has(digest)) this.#seen.set(digest, false);
    try {
      return bytes && parseManifest(bytes, digest, mediaType);
    } catch (error) {
      this.#note(digest, messageOf(error), error);
      return undefined;
    }
  }

  /** Undefined if it is not there, or damaged. */
  async #readBytes(digest: string): Promise<Uint8Array | undefined> {
    const { store, limits } = this.#layout;
    try {
      return await readSmallBlob(store, digest, { maxBytes: limits.maxManifestBytes, signal: this.#signal });
    } catch (error) {
      if (!(error instanceof StowageError) || error.code === "STORE_UNAVAILABLE") throw error;
      this.#note(digest, messageOf(error), error);
      return undefined;
    }
  }

  #note(digest: string, reason: string, cause?: unknown): void {
    const message = `Cannot tell what manifest "${digest}" needs: ${reason}`;
    this.damaged.set(digest, new StowageError("STORE_DAMAGED", message, { cause, detail: { digest } }));
  }
}

function isManifest(bytes: Uint8Array, digest: string): boolean {
  try {
    parseManifest(bytes, digest);
    return true;
  } catch (error) {
    if (error instanceof StowageError) return false;
    throw error;
  }
}

function tooMany(): StowageError {
  const message = `Cannot keep in mind which manifests were read: there are more than ${maxManifests}`;
  return new StowageError("LIMIT_EXCEEDED", message, { detail: { expected: maxManifests } });
}
