/** A stream, or a wait, that ends as soon as a signal fires. */
import { WatchedSource } from "./watched-source.ts";

/** A stream that ends with the signal's reason as soon as the signal fires, also while its source stalls. */
export function abortable(source: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): WatchedSource {
  return new WatchedSource(source).watch({ signal });
}

/** Waits for a promise. If the signal fires first, the wait rejects with the signal's reason. */
export async function orAbort<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  promise.catch(() => undefined); // a failure after the wait is ignored
  signal.throwIfAborted();
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => (onAbort = () => reject(signal.reason as Error)));
  signal.addEventListener("abort", onAbort);
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
