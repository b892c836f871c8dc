/** The body of a `write`, for every store. */
import { StowageError } from "../errors.ts";
import { WatchedSource } from "../streams/watched-source.ts";
import type { ByteSource } from "./object-store.ts";

/**
 * Passes on the bytes of a body. Ends with the signal's reason when the signal fires, and with `SIZE_INVALID` if the
 * body has another length than announced. Keeps the body's error, so that it is not taken for an error of the store.
 */
export class WrittenBody {
  readonly chunks: WatchedSource;
  #failure: { readonly error: unknown } | undefined;
  #hasEnded = false;

  constructor(key: string, { size, body }: ByteSource, signal: AbortSignal | undefined) {
    const chunks: WatchedSource = new WatchedSource(body);
    this.chunks = chunks.watch({
      signal,
      onChunk: ({ length }) => {
        if (size !== undefined && chunks.bytes + length > size) throw wrongSize(key, `more than ${size} bytes`, size);
      },
      onEnd: () => {
        if (size !== undefined && chunks.bytes !== size) throw wrongSize(key, `${chunks.bytes} bytes`, size);
        this.#hasEnded = true;
      },
      onFailure: (error) => {
        this.#failure = { error };
        return error;
      },
    });
  }

  /** Has the store read the body to its end? */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Throws the body's error, if it has failed. */
  throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

function wrongSize(key: string, found: string, size: number): StowageError {
  const message = `Cannot store ${JSON.stringify(key)}: received ${found}, expected ${size}`;
  return new StowageError("SIZE_INVALID", message, { detail: { expected: size } });
}
