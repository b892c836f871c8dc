/**
 * The memory that a load takes for indexes, manifests and configs. A parsed text takes many times its bytes, so the load waits
 * for its turn to parse a large one. A load keeps little of each text, and the texts that it keeps something of have a cap.
 */
import { limitExceeded } from "../errors.ts";
import type { Release } from "../streams/line.ts";
import type { Layout, Turn } from "./layout.ts";

/** Bytes of JSON texts that a load may keep something of without a hold: the indexes and configs of most archives have less. */
const freeKeptBytes = 512 * 1024;
/** A load may keep something of this many of the largest manifests. */
const maxLargest = 4;

const tooMuchKept =
  "Cannot load the archive: its indexes inside one another, those that lack manifests, and its configs have too many bytes " +
  `together (${maxLargest} times maxManifestBytes)`;

/** The memory of one load. It ends with the load. */
export class ParsedJson {
  /** The caller that the load counts for, and the signal that ends it. */
  readonly turn: Turn & { readonly signal: AbortSignal };
  readonly #budget: Layout["budget"];
  readonly #maxBytes: number;
  #keptBytes = 0;
  #release: Release | undefined;

  constructor({ limits, budget }: Layout, { caller, signal = AbortSignal.any([]) }: Turn) {
    this.turn = { caller, signal };
    this.#budget = budget;
    this.#maxBytes = maxLargest * limits.maxManifestBytes;
  }

  /** Does the work, which reads a text of this many bytes, parses it, and returns the little that is kept of it. */
  async parse<T>(bytes: number, work: () => T | Promise<T>): Promise<T> {
    return this.#budget.parse(bytes, work, this.turn);
  }

  /** Asks the store about one of many objects, at the turn of the load's caller. */
  async ask<T>(question: () => Promise<T>): Promise<T> {
    return this.#budget.ask(question, this.turn);
  }

  /** To be called before something is kept of a text of this many bytes. May wait; throws `LIMIT_EXCEEDED`. */
  async keep(bytes: number): Promise<void> {
    this.#keptBytes += bytes;
    if (this.#keptBytes > this.#maxBytes)
      throw limitExceeded(tooMuchKept, { limit: "maxManifestBytes", expected: this.#maxBytes });
    if (this.#keptBytes > freeKeptBytes) this.#release ??= await this.#budget.keepJson(this.#maxBytes, this.turn);
  }

  /** Says that nothing is kept any more of a text. */
  drop(bytes: number): void {
    this.#keptBytes -= bytes;
  }

  /** Says that nothing is kept any more of any text. */
  end(): void {
    this.#keptBytes = 0;
    this.#release?.();
    this.#release = undefined;
  }
}
