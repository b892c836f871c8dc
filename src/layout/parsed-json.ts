/**
 * The memory that a load takes for indexes, manifests and configs. While one is parsed it takes many times its bytes: a large
 * one is read and parsed at the load's turn. What the load keeps of them is little, and has a cap.
 */
import { StowageError } from "../errors.ts";
import type { LoadLimits } from "../limits.ts";
import type { ByteBudget, TakeOptions } from "../streams/byte-budget.ts";
import type { Release } from "../streams/line.ts";

/** Bytes of JSON texts that every load may keep something of: more than the indexes and configs of most archives have. */
const freeKeptBytes = 512 * 1024;
/** As many of the largest manifests a load may keep something of. */
const maxLargest = 4;

export interface ParsedJsonOptions extends Pick<TakeOptions, "caller"> {
  readonly limits: Pick<LoadLimits, "maxManifestBytes">;
  readonly budget: ByteBudget;
  readonly signal?: AbortSignal | undefined;
}

/** That of one load. It ends with the load. */
export class ParsedJson {
  readonly #budget: ByteBudget;
  readonly #options: TakeOptions;
  readonly #maxBytes: number;
  #keptBytes = 0;
  #release: Release | undefined;

  constructor({ limits, budget, caller, signal = AbortSignal.any([]) }: ParsedJsonOptions) {
    this.#budget = budget;
    this.#options = { caller, signal };
    this.#maxBytes = maxLargest * limits.maxManifestBytes;
  }

  /** Does the work, which reads a text of this many bytes, parses it, and returns the little that is kept of it. */
  async parse<T>(bytes: number, work: () => T | Promise<T>): Promise<T> {
    return this.#budget.parse(bytes, work, this.#options);
  }

  /** Asks the store about one of many objects, at the turn of the load's caller. */
  async ask<T>(question: () => Promise<T>): Promise<T> {
    return this.#budget.ask(question, this.#options);
  }

  /** To be called before something is kept of a text of this many bytes. May wait; throws `LIMIT_EXCEEDED`. */
  async keep(bytes: number): Promise<void> {
    this.#keptBytes += bytes;
    if (this.#keptBytes > this.#maxBytes) throw tooMany(this.#maxBytes);
    if (this.#keptBytes > freeKeptBytes) this.#release ??= await this.#budget.keepJson(this.#maxBytes, this.#options);
  }

  /** Lets go of what was kept of a text. */
  drop(bytes: number): void {
    this.#keptBytes -= bytes;
  }

  /** Lets go of all that was kept. */
  end(): void {
    this.#keptBytes = 0;
    this.#release?.();
    this.#release = undefined;
  }
}

function tooMany(maxBytes: number): StowageError {
  return new StowageError(
    "LIMIT_EXCEEDED",
    "Cannot load the archive: its indexes inside one another, those that lack manifests, and its configs have more than " +
      `${maxBytes} bytes together (${maxLargest} times maxManifestBytes)`,
    { detail: { limit: "maxManifestBytes", expected: maxBytes } },
  );
}
