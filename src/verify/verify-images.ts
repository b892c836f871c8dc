/** Checks that each repository's index can be read, and that every image in it is whole. */
import { StowageError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { checkClosure } from "../load/check-closure.ts";
import { ParsedJson } from "../load/parsed-json.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { formatReference } from "../oci/reference.ts";
import { tagOf } from "../oci/repository-index.ts";
import { listRepositories } from "../pull/list-repositories.ts";
import { readRepository } from "../pull/read-repository.ts";
import { blobKey, indexKey } from "../storage/keys.ts";
import type { ObjectStore, StoreReader } from "../storage/object-store.ts";
import { ByteBudget } from "../streams/byte-budget.ts";
import { hideObjects } from "./hide-objects.ts";
import type { Problem } from "./problem.ts";
import type { VerifiedBlobs } from "./verify-blobs.ts";

export interface VerifyImagesOptions {
  readonly store: ObjectStore;
  readonly limits: Limits;
  /** What is known of the blobs. One that is damaged is as good as missing. */
  readonly blobs: VerifiedBlobs;
  readonly signal?: AbortSignal | undefined;
  /** Told of each problem as soon as it is found. */
  readonly onProblem: (problem: Problem) => void;
}

export interface VerifiedImages {
  readonly repositories: number;
  /** Entries of all indexes. */
  readonly images: number;
  /** Digests of the blobs that belong to an image; they are all known only if every image is whole. */
  readonly needed: ReadonlySet<string>;
}

/** Throws `STORE_UNAVAILABLE` if the store fails. */
export async function verifyImages(options: VerifyImagesOptions): Promise<VerifiedImages> {
  const check = new ImageCheck(options);
  const names = await listRepositories(options.store, options);
  let images = 0;
  for (const repository of names) {
    for (const entry of await check.readEntries(repository)) {
      images += 1;
      await check.checkEntry(repository, entry);
    }
  }
  return { repositories: names.length, images, needed: check.needed };
}

class ImageCheck {
  readonly needed = new Set<string>();
  readonly #options: VerifyImagesOptions;
  readonly #intact: StoreReader;
  readonly #budget: ByteBudget;
  /** What is wrong with a root: the same image often has several names. */
  readonly #checked = new Map<string, StowageError | undefined>();

  constructor(options: VerifyImagesOptions) {
    this.#options = options;
    this.#intact = hideObjects(options.store, options.blobs.damaged);
    this.#budget = new ByteBudget(options.limits.maxBufferBytes);
  }

  async readEntries(repository: string): Promise<readonly Descriptor[]> {
    const { store, onProblem } = this.#options;
    const read = async (): Promise<readonly Descriptor[]> =>
      (await readRepository(store, repository, this.#options)).entries;
    const found = await valueOrProblem(read);
    if (!(found instanceof StowageError)) return found;
    onProblem({ where: indexKey(repository), code: found.code, message: found.message });
    return [];
  }

  async checkEntry(repository: string, entry: Descriptor): Promise<void> {
    const name = `${entry.digest} ${entry.size}`;
    if (!this.#checked.has(name)) this.#checked.set(name, await this.#checkRoot(entry));
    const error = this.#checked.get(name);
    if (error === undefined) return;
    const where = formatReference(repository, tagOf(entry) ?? entry.digest);
    this.#options.onProblem({ where, code: error.code, message: this.#explain(error) });
  }

  async #checkRoot(root: Descriptor): Promise<StowageError | undefined> {
    const { limits, signal, blobs } = this.#options;
    const known = {
      sizeOf: (digest: string) => {
        this.needed.add(digest);
        return blobs.sizes.get(digest);
      },
      manifest: (digest: string) => {
        this.needed.add(digest);
        return undefined;
      },
    };
    const parsed = new ParsedJson({ limits, budget: this.#budget, signal });
    const options = { store: this.#intact, limits, signal, known, parsed };
    const closed = await valueOrProblem(() => checkClosure([root], options)).finally(() => parsed.end());
    return closed instanceof StowageError ? closed : undefined;
  }

  /** The closure's own words are those of a load. */
  #explain({ code, message, detail }: StowageError): string {
    const digest = detail?.["digest"];
    if (typeof digest !== "string") return message;
    if (code === "MANIFEST_BLOB_UNKNOWN") {
      return `it needs ${digest}, which is ${this.#options.blobs.damaged.has(blobKey(digest)) ? "damaged" : "missing"}`;
    }
    if (code === "SIZE_INVALID") {
      return `it needs ${digest} with ${String(detail?.["expected"])} bytes, which has ${String(detail?.["found"])}`;
    }
    return message;
  }
}

/** What is wrong with an image is a value; that the store fails is not. */
async function valueOrProblem<T>(work: () => Promise<T>): Promise<T | StowageError> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof StowageError) || error.code === "STORE_UNAVAILABLE" || error.code === "INTERRUPTED")
      throw error;
    return error;
  }
}
