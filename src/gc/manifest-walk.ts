/** Goes from manifest to manifest and notes every blob on its way. */
import { StowageError, messageOf } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type Manifest, isManifestType, parseManifest } from "../oci/manifest.ts";
import { readSmallBlob } from "../storage/read-small-blob.ts";
import { concurrently } from "../streams/concurrently.ts";
import { DigestSet } from "./digest-set.ts";
import type { FindNeededOptions } from "./find-needed.ts";

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
  readonly #options: FindNeededOptions;
  /** By digest of a manifest, whether it is there. Whole digests: a manifest that is taken for another is not read. */
  readonly #seen = new Map<string, boolean>();

  constructor(options: FindNeededOptions) {
    this.#options = options;
  }

  /** Visits the manifests, which have to be there, and all below them; an index may name others that are not. */
  async visit(roots: readonly Descriptor[], { withSubjects = true }: VisitOptions = {}): Promise<void> {
    await concurrently(roots, maxConcurrentReads, async (root) => this.#visitTree(root, withSubjects));
    const lost = roots.find(({ digest }) => this.#seen.get(digest) === false);
    if (lost !== undefined) throw damaged(lost.digest, "an index names it, and it is not there");
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
    const { store, limits, signal } = this.#options;
    if (this.#seen.size === maxManifests) throw tooMany();
    this.#seen.set(digest, true); // nobody else need read it
    try {
      const bytes = await readSmallBlob(store, digest, { maxBytes: limits.maxManifestBytes, signal });
      if (bytes === undefined) this.#seen.set(digest, false);
      return bytes && parseManifest(bytes, digest, mediaType);
    } catch (error) {
      if (!(error instanceof StowageError) || error.code === "STORE_UNAVAILABLE") throw error;
      throw damaged(digest, messageOf(error), error);
    }
  }
}

function damaged(digest: string, reason: string, cause?: unknown): StowageError {
  const message = `Cannot tell what manifest "${digest}" needs: ${reason}`;
  return new StowageError("STORE_DAMAGED", message, { cause, detail: { digest } });
}

function tooMany(): StowageError {
  const message = `Cannot keep in mind which manifests were read: there are more than ${maxManifests}`;
  return new StowageError("LIMIT_EXCEEDED", message, { detail: { expected: maxManifests } });
}
