/** A load under way: what all of its steps share. */
import { setMaxListeners } from "node:events";
import type { Digest } from "../digest.ts";
import { limitExceeded, StowageError } from "../errors.ts";
import { RescuingStore } from "../layout/rescuing-store.ts";
import type { Layout } from "../layout/layout.ts";
import { JsonMemory } from "../layout/json-memory.ts";
import { maxListed } from "../limits.ts";
import type { Expectation } from "../oci/index-change.ts";
import { type ImageName, formatName, parseName } from "../oci/reference.ts";
import type { TagPattern } from "../oci/tag-pattern.ts";
import { lifetimeForm, maxLifetimeMs } from "../settings/parse-quantity.ts";
import { CountingStore, type RequestCounts } from "../storage/counting-store.ts";
import { BlobIntake } from "./blob-intake.ts";
import type { ContentEncoding } from "./decode-content.ts";

/** How an archive is loaded. */
export interface LoadOptions {
  /**
   * The name of the image, instead of the names in the tarball: `team/app` sets the repository, `team/app:1.4` the tag
   * too. The tarball must then hold one image; with `team/app@sha256:…` it must have this digest. Without a name images
   * keep their own names.
   */
  readonly name?: string | ImageName | undefined;
  /**
   * The digest that the tag must have before it moves, or `absent`. If the tag has another one, nothing is published.
   * Only for a `name` with a tag.
   */
  readonly expects?: Expectation | undefined;
  /**
   * Gives the images an end: this many milliseconds after they are published. The next gc after the end drops the
   * images. Without this option, the images have no end, and an earlier end is removed.
   */
  readonly expiresInMs?: number | undefined;
  /** Tags that can be created, but never moved: `[{ repository: "team/**", tag: "v*" }]`. */
  readonly immutableTags?: readonly TagPattern[] | undefined;
  /**
   * The name of the caller. While several callers want memory, each gets an equal share. Loads without a name count as
   * one caller.
   */
  readonly caller?: string | undefined;
  /**
   * Asked after the load has waited for memory for five seconds. `true` ends the load, because another caller waits for
   * the turn that this load holds.
   */
  readonly givesWay?: (() => boolean) | undefined;
  /** May the caller publish in this repository? Without it the caller may publish in all. */
  readonly mayPublish?: ((repository: string) => boolean) | undefined;
  /**
   * Reads the store's copy of every blob in the archive, and replaces damaged copies (`repaired`). Without `repair`, a
   * load checks the sizes of all copies, and the bytes of manifests only.
   */
  readonly repair?: boolean | undefined;
  /** The encoding of the source (HTTP's Content-Encoding). The archive itself may be compressed as well. */
  readonly contentEncoding?: ContentEncoding | undefined;
  /**
   * Ends the load. The load cleans up and then rejects with the signal's reason. A silent source notices only when it
   * yields again: the caller has to close it.
   */
  readonly signal?: AbortSignal | undefined;
}

export class RunningLoad {
  /**
   * The layout, with the load's own store. That store rescues the condemned blobs that the load finds. It passes each
   * call on:
   *
   *     RescuingStore -> CountingStore (this load) -> GuardedStore -> CountingStore (`open-app.ts`) -> S3Store
   */
  readonly layout: Layout<RescuingStore>;
  readonly caller: string | undefined;
  /** Ends the load. Fires also when the archive cannot be read, or a blob cannot be stored. */
  readonly signal: AbortSignal;
  readonly name: ImageName | undefined;
  readonly expects: Expectation | undefined;
  readonly expiresInMs: number | undefined;
  readonly immutableTags: readonly TagPattern[];
  readonly mayPublish: (repository: string) => boolean;
  readonly contentEncoding: ContentEncoding;
  /** Memory and turns for the JSON that the load reads. */
  readonly json: JsonMemory;
  /** The blobs on their way into the store. */
  readonly intake: BlobIntake;
  readonly #counted: CountingStore;
  readonly #failed = new AbortController(); // the first error ends the whole load at once
  #extraBlobs = 0;

  /** Throws the errors of `checkName` and `checkLifetime`. */
  constructor(layout: Layout, options: LoadOptions) {
    const { caller, repair, signal, givesWay } = options;
    this.signal = signal === undefined ? this.#failed.signal : AbortSignal.any([signal, this.#failed.signal]);
    setMaxListeners(0, this.signal); // each request under way listens to the signal
    this.caller = caller;
    this.name = checkName(options);
    this.expects = options.expects;
    this.expiresInMs = checkLifetime(options);
    this.immutableTags = options.immutableTags ?? [];
    this.mayPublish = options.mayPublish ?? ((): boolean => true);
    this.contentEncoding = options.contentEncoding ?? "identity";
    this.#counted = new CountingStore(layout.store);
    const store = new RescuingStore(this.#counted, layout.clock);
    this.layout = layout.through(store);
    this.json = new JsonMemory(layout, this);
    const onFailure = (error: unknown): void => this.fail(error);
    const { budget, hasher } = layout;
    this.intake = new BlobIntake({ store, budget, hasher, caller, signal: this.signal, repair, givesWay }, onFailure);
  }

  /** The requests that the load has made of the store so far. */
  get requests(): RequestCounts {
    return this.#counted.requests;
  }

  /** Ends the load with this error. */
  fail(error: unknown): void {
    this.#failed.abort(error);
  }

  /**
   * Stores a blob that is in no file of the archive. Throws `LIMIT_EXCEEDED` after `maxListed` of them, because each
   * waits for the one before.
   */
  async storeExtraBlob(bytes: Uint8Array, digest: Digest): Promise<void> {
    if (++this.#extraBlobs > maxListed) {
      const problem = "Cannot load the archive: too many of its blobs are in no file, but in descriptors or made here";
      throw limitExceeded(problem, { expected: maxListed });
    }
    await this.intake.storeBytes(bytes, digest);
    await this.intake.settled();
  }
}

/** Throws `INPUT_INVALID` for a time after which no image can end. */
function checkLifetime({ expiresInMs }: LoadOptions): number | undefined {
  if (expiresInMs === undefined || (expiresInMs > 0 && expiresInMs <= maxLifetimeMs)) return expiresInMs;
  const message = `Cannot give images an end after ${expiresInMs} ms: expected ${lifetimeForm}`;
  throw new StowageError("INPUT_INVALID", message);
}

/** Checks the name, as a text or as its parts: it becomes part of a key. Throws `NAME_INVALID` and `INPUT_INVALID`. */
export function checkName({ name: given, expects }: Pick<LoadOptions, "name" | "expects">): ImageName | undefined {
  const name = given === undefined ? undefined : parseName(typeof given === "string" ? given : formatName(given));
  if (expects === undefined || name?.tag !== undefined) return name;
  const found = name === undefined ? "no name" : `"${formatName(name)}"`;
  const message = `Cannot hold the load to a condition: found ${found}, expected a name with a tag, such as team/app:1.4`;
  throw new StowageError("INPUT_INVALID", message);
}
