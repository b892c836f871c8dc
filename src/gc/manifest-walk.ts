/** Goes from manifest to manifest, and notes every blob on its way. A walk can stop, and go on in another process. */
import type { Digest } from "../digest.ts";
import { limitExceeded, messageOf, StowageError } from "../errors.ts";
import { readSmallBlob } from "../layout/blobs.ts";
import type { Layout } from "../layout/layout.ts";
import { successorsOf } from "../layout/read-manifest.ts";
import type { ManifestIdentity } from "../oci/descriptor.ts";
import { type Manifest, isManifestType, parseManifest } from "../oci/manifest.ts";
import { concurrently } from "../streams/concurrently.ts";
import type { DigestSet } from "./digest-set.ts";

/** Manifests that are read at the same time: each may have some mebibytes. */
const maxConcurrentReads = 16;

/** A visited manifest takes about 150 bytes of memory. */
const maxManifests = 1_000_000;
const tooManyManifests = "Cannot remember which manifests were read: there are too many";

/** How far a walk has come. Every manifest that was reached has been read, or is in `pending`. */
export interface WalkState {
  /** All manifests that were visited, and their blobs. */
  readonly needed: DigestSet;
  /** The manifests that were read, as far as the walk may come to them again. */
  read: Digest[];
  /** The manifests that are left to visit. */
  readonly pending: ManifestIdentity[];
}

/** What ends a walk. */
export interface WalkEnd {
  /** Is the slice over? The walk then stops at the next manifest. Undefined for a whole run. */
  readonly isSliceOver?: (() => boolean) | undefined;
  /** Ends the walk with an error. */
  readonly signal: AbortSignal | undefined;
}

export class ManifestWalk {
  /** By the digest of a manifest: why its needs are not known. */
  readonly damaged = new Map<Digest, StowageError>();
  readonly #layout: Layout;
  readonly #state: WalkState;
  readonly #end: WalkEnd;
  /**
   * By the digest of a manifest: does the store have it? Not a `DigestSet`: its rare mistakes could hide a manifest
   * that was not read.
   */
  readonly #seen: Map<Digest, boolean>;
  #hasStopped = false;

  constructor(layout: Layout, state: WalkState, end: WalkEnd) {
    this.#layout = layout;
    this.#state = state;
    this.#end = end;
    this.#seen = new Map(state.read.map((digest) => [digest, true]));
  }

  /** All manifests that were visited, and their blobs. */
  get needed(): DigestSet {
    return this.#state.needed;
  }

  /** Has the walk stopped before its end? */
  get hasStopped(): boolean {
    return this.#hasStopped;
  }

  /** Stops the walk if the slice is over. Called after each step that the next slice need not repeat. */
  stopIfSliceIsOver(): void {
    this.#hasStopped ||= this.#end.isSliceOver?.() === true;
  }

  /** Visits what the last slice has left. */
  async visitPending({ withSubjects }: { readonly withSubjects: boolean }): Promise<void> {
    await concurrently(this.#takePending(), maxConcurrentReads, async (next) => this.#visitTree([next], withSubjects));
  }

  /**
   * Visits the manifests and everything below them. The manifests themselves must be in the store. Manifests that an
   * index names may be missing. With `withSubjects`, a manifest also needs its subject.
   */
  async visit(
    roots: readonly ManifestIdentity[],
    { withSubjects }: { readonly withSubjects: boolean } = { withSubjects: true },
  ): Promise<void> {
    await concurrently(this.#untilStopped(roots), maxConcurrentReads, async (root) =>
      this.#visitTree([root], withSubjects, root),
    );
    for (const { digest } of roots) {
      if (this.#seen.get(digest) === false) this.#note(digest, "an index names it, and it is not there");
    }
  }

  /** Visits each blob that is a manifest, as if an index named it. */
  async visitManifestsAmong(digests: readonly Digest[]): Promise<void> {
    await concurrently(digests, maxConcurrentReads, async (digest) => {
      if (this.#seen.has(digest)) return;
      const bytes = await this.#readBytes(digest);
      const root = { digest, mediaType: "", size: 0 };
      if (bytes !== undefined && isManifest(bytes, digest)) await this.#visitTree([root], true, root);
    });
  }

  *#takePending(): Generator<ManifestIdentity> {
    const { pending } = this.#state;
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      yield next;
      if (this.#hasStopped) return;
    }
  }

  *#untilStopped(roots: readonly ManifestIdentity[]): Generator<ManifestIdentity> {
    for (const root of roots) {
      if (this.#hasStopped) return;
      yield root;
    }
  }

  /**
   * Visits one manifest after the other, since an index can name very many. A root is read even if its media type is
   * unknown.
   */
  async #visitTree(waiting: ManifestIdentity[], withSubjects: boolean, root?: ManifestIdentity): Promise<void> {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      this.needed.add(next.digest);
      if ((next !== root && !isManifestType(next.mediaType)) || this.#seen.has(next.digest)) continue;
      const manifest = await this.#read(next);
      if (manifest !== undefined) {
        const { manifests, blobs, subject } = successorsOf(manifest);
        for (const { digest } of blobs) this.needed.add(digest);
        waiting.push(...manifests);
        if (withSubjects && subject !== undefined) waiting.push(subject);
      }
      this.stopIfSliceIsOver();
      if (this.#hasStopped) break;
    }
    this.#state.pending.push(...waiting);
  }

  async #read({ digest, mediaType }: ManifestIdentity): Promise<Manifest | undefined> {
    if (this.#seen.size === maxManifests) throw limitExceeded(tooManyManifests, { expected: maxManifests });
    this.#seen.set(digest, true); // set before the read, so that no other visit reads it
    const bytes = await this.#readBytes(digest);
    if (bytes === undefined && !this.damaged.has(digest)) this.#seen.set(digest, false);
    else this.#state.read.push(digest);
    try {
      return bytes && parseManifest(bytes, digest, mediaType);
    } catch (error) {
      this.#note(digest, messageOf(error), error);
      return undefined;
    }
  }

  /** Returns undefined if the manifest is missing or damaged. */
  async #readBytes(digest: Digest): Promise<Uint8Array | undefined> {
    const { store, limits } = this.#layout;
    try {
      return await readSmallBlob(store, digest, { maxBytes: limits.maxManifestBytes, signal: this.#end.signal });
    } catch (error) {
      if (!(error instanceof StowageError) || error.code === "STORE_UNAVAILABLE") throw error;
      this.#note(digest, messageOf(error), error);
      return undefined;
    }
  }

  #note(digest: Digest, reason: string, cause?: unknown): void {
    const message = `Cannot tell what manifest "${digest}" needs: ${reason}`;
    this.damaged.set(digest, new StowageError("STORE_DAMAGED", message, { cause, detail: { digest } }));
  }
}

function isManifest(bytes: Uint8Array, digest: Digest): boolean {
  try {
    parseManifest(bytes, digest);
    return true;
  } catch (error) {
    if (error instanceof StowageError) return false;
    throw error;
  }
}
