/**
 * Copies images into a store. The blobs that the store lacks come first, then manifests, children before parents. Each
 * repository's index comes last, by one commit. A copy that is stopped leaves blobs behind and no index that names
 * missing blobs. The next copy goes on where it was.
 */
import { setMaxListeners } from "node:events";
import type { Digest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { checkClosure } from "../layout/check-closure.ts";
import { RescuingStore } from "../layout/rescuing-store.ts";
import type { Layout } from "../layout/layout.ts";
import { JsonMemory } from "../layout/json-memory.ts";
import { checkUpdate } from "../layout/update-repository.ts";
import { type NamedImage, changesFor, noKnownBlobs, publish } from "../layout/publish.ts";
import { readEntries } from "../layout/read-repository.ts";
import type { ChangeOutcome } from "../oci/index-change.ts";
import { formatReference } from "../oci/reference.ts";
import type { TagPattern } from "../oci/tag-pattern.ts";
import type { ImageSource } from "../remote/image-source.ts";
import { concurrently } from "../streams/concurrently.ts";
import { type SeenNames, distinctNames, namesIn, noteSameTag, outcomeOf } from "./seen-names.ts";
import { type CopyFailure, type CopyPlan, type PlannedImage, findPresent, sizesOf } from "./plan-copy.ts";
import { type BlobTotals, BlobTransfer, type TransferOptions } from "./transfer-blobs.ts";

/** Repositories that are copied at the same time. They share the blobs under way. */
const maxConcurrentRepositories = 8;

export interface CopyOptions extends TransferOptions {
  /** The name that the only image gets: by default the source's. */
  readonly as?: { readonly repository: string; readonly tag: string | undefined } | undefined;
  /** Tags that can be created, but never moved. */
  readonly immutableTags?: readonly TagPattern[] | undefined;
  /** The end of the images in the target: see `SetChange`. */
  readonly expires?: string | undefined;
  /** Called before the first blob moves. */
  readonly onPlan?: ((totals: BlobTotals) => void) | undefined;
  /** Finds out what would be copied, and copies nothing. */
  readonly dryRun?: boolean | undefined;
}

/** An image that is in the target now. */
export interface CopiedImage extends ChangeOutcome {
  readonly repository: string;
  /** The tag, or the digest of an image without a tag. */
  readonly reference: string;
  readonly digest: Digest;
}

export interface CopyReceipt {
  readonly images: readonly CopiedImage[];
  readonly failures: readonly CopyFailure[];
  readonly blobs: BlobTotals;
}

/** Copies the planned images. An image that fails does not stop the others. */
export async function copyImages(
  source: ImageSource,
  target: Layout,
  plan: CopyPlan,
  options: CopyOptions,
): Promise<CopyReceipt> {
  const copy = new Copy(source, target, options);
  return copy.run(plan);
}

/** The images of one repository of the target. */
interface Group {
  readonly repository: string;
  readonly images: readonly PlannedImage[];
}

class Copy {
  readonly #target: Layout;
  readonly #options: CopyOptions;
  readonly #transfer: BlobTransfer;
  readonly #images: CopiedImage[] = [];
  readonly #failures: CopyFailure[] = [];

  constructor(source: ImageSource, target: Layout, options: CopyOptions) {
    this.#target = target;
    this.#options = options;
    setMaxListeners(0, options.signal); // each request under way listens to it
    this.#transfer = new BlobTransfer(source, target, options);
  }

  async run({ images, failures }: CopyPlan): Promise<CopyReceipt> {
    const { as, signal, dryRun = false } = this.#options;
    const { store, clock } = this.#target;
    const rescuing = new RescuingStore(store, clock);
    const sizes = sizesOf(images);
    const seenMs = clock.now();
    const present = await findPresent(sizes, { store, rescuing: dryRun ? undefined : rescuing, signal });
    this.#transfer.expect(sizes, { present, seenMs });
    this.#options.onPlan?.(this.#transfer.totals);
    const repositories = new Set(images.map(({ repository }) => repository));
    const groups = [...repositories].map((repository): Group => ({
      repository: as?.repository ?? repository,
      images: images.filter((image) => image.repository === repository),
    }));
    await concurrently(groups, maxConcurrentRepositories, async (group) =>
      this.#attempt(group.images, async () => this.#copyGroup(group, rescuing.fork(), dryRun)),
    );
    return { images: this.#images, failures: [...failures, ...this.#failures], blobs: this.#transfer.totals };
  }

  async #copyGroup({ repository, images }: Group, store: RescuingStore, dryRun: boolean): Promise<void> {
    const { caller, signal } = this.#options;
    const layout = this.#target.through(store);
    const seen = namesIn(await readEntries(layout, repository, { caller, signal }));
    const changed: PlannedImage[] = [];
    for (const image of images) {
      if (!this.#isWhole(image) || !this.#isListed(image, seen)) changed.push(image);
      else this.#images.push({ ...this.#nameOf(image, repository), status: "unchanged" });
    }
    const allowed = await this.#allowed(layout, { repository, images: changed }, seen);
    if (dryRun) {
      for (const image of allowed)
        this.#images.push({ ...this.#nameOf(image, repository), ...outcomeOf(this.#toName(image), seen) });
      return;
    }
    const stored = await this.#storeAll(allowed, store);
    if (stored.length > 0) await this.#publish(layout, { repository, images: stored }, seen);
  }

  /** The images whose tags may move: no bytes move for the others. */
  async #allowed(layout: Layout, group: Group, seen: SeenNames): Promise<readonly PlannedImage[]> {
    const { caller, signal, immutableTags } = this.#options;
    const { repository } = group;
    let { images } = group;
    while (images.length > 0) {
      const named = distinctNames(images.flatMap((image) => this.#namesOf(image, seen)));
      const changes = named.map((image) => ({ op: "set", ...image }) as const);
      try {
        await checkUpdate(layout, { repository, changes, immutableTags }, { caller, signal });
        break;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof StowageError)) throw error;
        if (!noteSameTag(error, named, seen)) images = this.#withoutRefused(images, error);
      }
    }
    return images;
  }

  #nameOf(image: PlannedImage, repository: string): Omit<CopiedImage, "status"> {
    const { digest } = image.root;
    return { repository, reference: this.#toName(image).tag ?? digest, digest };
  }

  #toName({ reference, root }: PlannedImage): NamedImage {
    const { as, expires } = this.#options;
    const tag = reference === root.digest ? undefined : reference;
    return { ...root, tag: as === undefined ? tag : (as.tag ?? tag), expires };
  }

  /** Does the target have all manifests and blobs of the image? */
  #isWhole({ closure }: PlannedImage): boolean {
    for (const { digest, blobs } of closure.manifests.values()) {
      if (!this.#transfer.isPresent(digest)) return false;
      for (const blob of blobs) if (!this.#transfer.isPresent(blob.digest)) return false;
    }
    return true;
  }

  /** Does the target's index list the image, with the right end, and its referrers? */
  #isListed(image: PlannedImage, { tags, digests, ends }: SeenNames): boolean {
    const has = (digest: Digest, tag: string | undefined): boolean =>
      tag === undefined ? digests.has(digest) : tags.get(tag) === digest;
    const { tag, digest, expires } = this.#toName(image);
    if (ends.get(tag ?? digest) !== expires) return false;
    return has(digest, tag) && image.closure.referrers.every((it) => has(it.digest, it.tag));
  }

  /** Stores the blobs and manifests of the images. Returns the images that are whole afterwards. */
  async #storeAll(images: readonly PlannedImage[], store: RescuingStore): Promise<readonly PlannedImage[]> {
    const stored: PlannedImage[] = [];
    await concurrently(images, maxConcurrentRepositories, async (image) => {
      const fine = await this.#attempt([image], async () => this.#transfer.store(image, store));
      if (fine) stored.push(image);
    });
    return images.filter((image) => stored.includes(image));
  }

  async #publish(layout: Layout<RescuingStore>, group: Group, seen: SeenNames): Promise<void> {
    const { signal, caller, immutableTags } = this.#options;
    const { repository } = group;
    let { known } = this.#transfer;
    for (let images = group.images; images.length > 0;) {
      const named = distinctNames(images.flatMap((image) => this.#namesOf(image, seen)));
      const json = new JsonMemory(layout, { caller, signal });
      try {
        const roots = [...new Map(named.map((it) => [it.digest, it])).values()];
        const closure = await checkClosure(layout, roots, { json, known });
        const update = { repository, changes: changesFor(named, closure), immutableTags };
        const outcomes = await publish(layout, closure, update, json);
        for (const image of images) {
          const { tag, digest } = this.#toName(image);
          const at = named.findIndex((it) => it.tag === tag && it.digest === digest);
          const outcome = outcomes[at];
          if (outcome !== undefined) this.#images.push({ ...this.#nameOf(image, repository), ...outcome });
        }
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof StowageError)) throw error;
        if (noteSameTag(error, named, seen)) continue;
        images = this.#withoutRefused(images, error);
        const isOneTag = error.detail?.["reference"] !== undefined;
        if (!isOneTag) known = noKnownBlobs; // a look for all blobs may have ended at the first blob that is gone
      } finally {
        json.end();
      }
    }
  }

  /** The image, and its referrers with tags. The target must be as it was when the copy looked at it. */
  #namesOf(image: PlannedImage, { tags }: SeenNames): readonly NamedImage[] {
    const withExpectation = (named: NamedImage): NamedImage => {
      if (named.tag === undefined) return named;
      const digest = tags.get(named.tag);
      return { ...named, expects: digest === undefined ? "absent" : { digest } };
    };
    const referrers = image.closure.referrers.map(({ tag, ...referrer }): NamedImage => ({ ...referrer, tag }));
    return [this.#toName(image), ...referrers].map(withExpectation);
  }

  /**
   * A tag that may not move, or a blob that is gone, stops its own images. Any other error stops all of the repository.
   */
  #withoutRefused(images: readonly PlannedImage[], error: StowageError): readonly PlannedImage[] {
    const { reference, digest } = error.detail ?? {};
    const concerns = (image: PlannedImage): boolean => {
      const { manifests, referrers } = image.closure;
      if (reference !== undefined) return [this.#toName(image), ...referrers].some(({ tag }) => tag === reference);
      return [...manifests.values()].some((it) => [it, ...it.blobs].some((part) => part.digest === digest));
    };
    const concerned = images.filter(concerns);
    const refused = concerned.length === 0 ? images : concerned;
    this.#fail(refused, error);
    return images.filter((image) => !refused.includes(image));
  }

  #fail(images: readonly PlannedImage[], error: StowageError): void {
    for (const { repository, reference } of images) this.#failures.push({ repository, reference, error });
  }

  async #attempt(images: readonly PlannedImage[], work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      this.#options.signal.throwIfAborted();
      if (!(error instanceof StowageError)) throw error;
      this.#fail(images, error);
      return false;
    }
  }
}

/** A line about an image that was not copied. */
export function describeFailure({ repository, reference, error }: CopyFailure): string {
  return `${formatReference(repository, reference)}: ${error.code}: ${error.message}`;
}
