/**
 * What a load holds of indexes, manifests and configs as parsed JSON, which takes many times its bytes. Small ones are
 * free. A load that holds more waits until no other load of the process does, so that one at a time takes much, and has a
 * cap.
 */
import { StowageError } from "../errors.ts";
import type { LoadLimits } from "../limits.ts";
import { ByteBudget, type Release } from "../streams/byte-budget.ts";

/** Bytes of JSON that every load may hold parsed: more than the index of an image for all platforms has. */
const freeBytes = 256 * 1024;
/** As many of the largest manifests a load may hold parsed, at its turn. */
const maxLargest = 4;

/**
 * One at a time. Its holder waits for nobody who waits for it: it has read its archive, and holds no blob that others need.
 */
const turns = new ByteBudget(1);

export interface ParsedJsonOptions {
  readonly limits: Pick<LoadLimits, "maxManifestBytes">;
  readonly signal?: AbortSignal | undefined;
}

/** That of one load. It ends with the load. */
export class ParsedJson {
  readonly #signal: AbortSignal;
  readonly #maxBytes: number;
  #bytes = 0;
  #endTurn: Release | undefined;

  constructor({ limits, signal }: ParsedJsonOptions) {
    this.#signal = signal ?? AbortSignal.any([]); // which never aborts
    this.#maxBytes = maxLargest * limits.maxManifestBytes;
  }

  /** To be called before so many bytes of JSON are read and parsed. May wait; throws `LIMIT_EXCEEDED`. */
  async hold(bytes: number): Promise<void> {
    this.#bytes += bytes;
    if (this.#bytes > this.#maxBytes) throw tooMany(this.#maxBytes);
    if (this.#bytes > freeBytes) this.#endTurn ??= await turns.take(1, this.#signal);
  }

  /** Lets go of bytes that were held. */
  drop(bytes: number): void {
    this.#bytes -= bytes;
  }

  /** Lets go of all, and lets the next have its turn. */
  end(): void {
    this.#endTurn?.();
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
