/** Checks that each repository's index can be read, and that every image in it is whole. */
import { type Digest, isDigest } from "../digest.ts";
import { type ErrorCode, StowageError } from "../errors.ts";
import { checkClosure } from "../layout/check-closure.ts";
import { blobKey, digestOfBlobKey, indexKey } from "../layout/keys.ts";
import type { Layout } from "../layout/layout.ts";
import { listRepositories } from "../layout/list-repositories.ts";
import { JsonMemory } from "../layout/json-memory.ts";
import { readRepository } from "../layout/read-repository.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { tagOf } from "../oci/index-entry.ts";
import { formatReference } from "../oci/reference.ts";
import { ForwardingStore } from "../storage/forwarding-store.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import type { LackedBlob, Problem, VerifiedBlobs, VerifyOptions } from "./verify-blobs.ts";

interface VerifiedImages {
  /** The number of repositories that have images, or an index that cannot be read. */
  readonly repositories: number;
  /** The number of entries in all indexes. */
  readonly images: number;
  /** Digests of the blobs that belong to an image. The set is complete only if every image is whole. */
  readonly needed: ReadonlySet<Digest>;
  /** The blobs that images need and that are missing or damaged. */
  readonly lacked: readonly LackedBlob[];
}

/** At most this many of the images that lack a blob are named. */
const maxNamedImages = 1000;

/** Throws `STORE_UNAVAILABLE` if the store fails. */
export async function verifyImages(
  layout: Layout,
  blobs: VerifiedBlobs,
  options: VerifyOptions,
): Promise<VerifiedImages> {
  const check = new ImageCheck(layout, blobs, options);
  const names = await listRepositories(layout, options);
  let repositories = 0;
  let images = 0;
  for (const repository of names) {
    const entries = await check.readEntries(repository);
    if (entries?.length !== 0) repositories += 1;
    for (const entry of entries ?? []) {
      images += 1;
      await check.checkEntry(repository, entry);
    }
  }
  return { repositories, images, needed: check.needed, lacked: check.lacked() };
}

class ImageCheck {
  readonly needed = new Set<Digest>();
  readonly #layout: Layout;
  /** A damaged blob is as good as missing. */
  readonly #blobs: VerifiedBlobs;
  readonly #options: VerifyOptions;
  /** The layout without the damaged objects of its store. */
  readonly #intact: Layout;
  /** The problems of each root: one image often has several names. */
  readonly #checked = new Map<string, Findings>();
  /** By digest. */
  readonly #lacked = new Map<Digest, { readonly state: LackedBlob["state"]; readonly images: string[] }>();

  constructor(layout: Layout, blobs: VerifiedBlobs, options: VerifyOptions) {
    this.#layout = layout;
    this.#blobs = blobs;
    this.#options = options;
    this.#intact = layout.through(new IntactStore(layout.store, blobs.damaged));
  }

  lacked(): readonly LackedBlob[] {
    return [...this.#lacked].map(([digest, lacked]) => ({ digest, ...lacked }));
  }

  /** Undefined if the index cannot be read. */
  async readEntries(repository: string): Promise<readonly Descriptor[] | undefined> {
    const { signal, onProblem } = this.#options;
    const read = async (): Promise<readonly Descriptor[]> =>
      (await readRepository(this.#layout, repository, { signal })).entries;
    const found = await valueOrProblem(read);
    if (!(found instanceof StowageError)) return found;
    onProblem?.({ where: indexKey(repository), code: found.code, message: found.message });
    return undefined;
  }

  /** Reports one problem for all blobs that the image lacks, and one for each other problem of the image. */
  async checkEntry(repository: string, entry: Descriptor): Promise<void> {
    const name = `${entry.digest} ${entry.size}`;
    const found = this.#checked.get(name) ?? (await this.#checkRoot(entry));
    this.#checked.set(name, found);
    const where = formatReference(repository, tagOf(entry) ?? entry.digest);
    for (const digest of found.lacked) this.#note(digest, where);
    if (found.lacked.size > 0) {
      const blobs = [...found.lacked].map((digest) => `${digest}, which is ${this.#stateOf(digest)}`);
      this.#options.onProblem?.({ where, code: "MANIFEST_BLOB_UNKNOWN", message: `it needs ${blobs.join(", ")}` });
    }
    for (const { code, message } of found.others) this.#options.onProblem?.({ where, code, message });
  }

  async #checkRoot(root: Descriptor): Promise<Findings> {
    const { signal } = this.#options;
    const known = {
      sizeOf: (digest: Digest) => {
        this.needed.add(digest);
        return this.#blobs.sizes.get(digest);
      },
      manifest: (digest: Digest) => {
        this.needed.add(digest);
        return undefined;
      },
    };
    const json = new JsonMemory(this.#layout, { signal });
    const found = { lacked: new Set<Digest>(), others: new Map<string, Pick<Problem, "code" | "message">>() };
    const onProblem = (error: StowageError): void => {
      const digest = error.detail?.["digest"];
      if (isDigest(digest) && lackedCodes.has(error.code)) found.lacked.add(digest);
      else found.others.set(error.message, { code: error.code, message: explain(error) });
    };
    await checkClosure(this.#intact, [root], { json, known, onProblem }).finally(() => json.end());
    return { lacked: found.lacked, others: [...found.others.values()] };
  }

  #note(digest: Digest, image: string): void {
    const lacked = this.#lacked.get(digest) ?? { state: this.#stateOf(digest), images: [] };
    this.#lacked.set(digest, lacked);
    if (lacked.images.length < maxNamedImages) lacked.images.push(image);
  }

  #stateOf(digest: Digest): LackedBlob["state"] {
    return this.#blobs.damaged.has(blobKey(digest)) ? "damaged" : "missing";
  }
}

/** The problems of one image. */
interface Findings {
  /** Digests of blobs that are missing or damaged. */
  readonly lacked: ReadonlySet<Digest>;
  readonly others: readonly Pick<Problem, "code" | "message">[];
}

const lackedCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["MANIFEST_BLOB_UNKNOWN", "STORE_DAMAGED"]);

/** The messages of `checkClosure` are for a load. This is a message for a verification. */
function explain({ code, message, detail }: StowageError): string {
  const digest = detail?.["digest"];
  if (!isDigest(digest) || code !== "SIZE_INVALID") return message;
  return `it needs ${digest} with ${String(detail?.["expected"])} bytes, found ${String(detail?.["found"])} bytes`;
}

/** Returns the problem of an index as a value. Throws if the store fails. */
async function valueOrProblem<T>(work: () => Promise<T>): Promise<T | StowageError> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof StowageError) || error.code === "STORE_UNAVAILABLE" || error.code === "INTERRUPTED")
      throw error;
    return error;
  }
}

/** A store without its damaged objects: `head` of one finds nothing, and `get` throws `STORE_DAMAGED`. */
class IntactStore extends ForwardingStore {
  readonly #damaged: ReadonlySet<string>;

  constructor(store: ObjectStore, damaged: ReadonlySet<string>) {
    super(store);
    this.#damaged = damaged;
  }

  override async head(...args: Parameters<ObjectStore["head"]>): ReturnType<ObjectStore["head"]> {
    return this.#damaged.has(args[0]) ? undefined : super.head(...args);
  }

  override async get(...args: Parameters<ObjectStore["get"]>): ReturnType<ObjectStore["get"]> {
    const [key] = args;
    if (!this.#damaged.has(key)) return super.get(...args);
    throw new StowageError("STORE_DAMAGED", `"${key}" is damaged`, { detail: { digest: digestOfBlobKey(key) } });
  }
}
