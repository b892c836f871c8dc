/**
 * Counts the memory that a load takes for indexes, manifests and configs: "load" stands here for a push, a copy and a
 * new tag too. A parsed text takes many times its bytes, so a load waits for its turn to parse a large text. Of some
 * texts, a load keeps a small part. The lengths of these kept texts are added up, and the sum has a limit.
 */
import { limitExceeded } from "../errors.ts";
import type { Requester, TakeOptions } from "../streams/byte-budget.ts";
import type { Release } from "../streams/line.ts";
import type { Layout } from "./layout.ts";

/**
 * A load takes memory from the budget only if its kept texts together have more bytes than this. Those of most archives
 * have fewer.
 */
const freeKeptBytes = 512 * 1024;
/** Kept texts may have this number times `maxManifestBytes` together. */
const maxLargest = 4;

const tooMuchKept =
  "Cannot check the images: their indexes inside one another, those that lack manifests, and their configs have too " +
  `many bytes together (${maxLargest} times maxManifestBytes)`;

/** What one load takes for JSON: memory and turns. It parses nothing itself. */
export class JsonMemory {
  /** The caller of the load, and the signal that ends the load. */
  readonly requester: Requester;
  readonly #budget: Layout["budget"];
  readonly #maxBytes: number;
  #keptBytes = 0;
  #release: Release | undefined;

  constructor({ limits, budget }: Layout, { caller, signal }: Requester) {
    this.requester = { caller, signal };
    this.#budget = budget;
    this.#maxBytes = maxLargest * limits.maxManifestBytes;
  }

  /**
   * Does the work at the load's turn. `work` reads and parses a text of this many bytes, and returns the small part
   * that is kept.
   */
  async parse<T>(bytes: number, work: () => T | Promise<T>): Promise<T> {
    return this.#budget.parse(bytes, work, this.requester);
  }

  /**
   * Call this before something of a text of this many bytes is kept. If the kept texts have more than `freeKeptBytes`
   * together, waits once for memory for the largest sum that is allowed. Throws `LIMIT_EXCEEDED`, and `TOOMANYREQUESTS`
   * after the longest wait.
   */
  async keep(bytes: number, wait: Pick<TakeOptions, "maxWaitMs"> = {}): Promise<void> {
    this.#keptBytes += bytes;
    if (this.#keptBytes > this.#maxBytes)
      throw limitExceeded(tooMuchKept, { limit: "maxManifestBytes", expected: this.#maxBytes });
    if (this.#keptBytes > freeKeptBytes)
      this.#release ??= await this.#budget.keepJson(this.#maxBytes, { ...this.requester, ...wait });
  }

  /** Call this when nothing of a text is kept any more. */
  drop(bytes: number): void {
    this.#keptBytes -= bytes;
  }

  /** Call this when nothing of any text is kept any more. */
  end(): void {
    this.#keptBytes = 0;
    this.#release?.();
    this.#release = undefined;
  }
}
