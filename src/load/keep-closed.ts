/** What a load found in the store long ago may have been condemned since: it is found once more before it is published. */
import { StowageError } from "../errors.ts";
import type { RescuingStore } from "../marks/rescuing-store.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type ClosureOptions, checkClosure } from "./check-closure.ts";

const maxTries = 3;

/** Nothing is known of the store but what it says now. */
const nothing: ClosureOptions["known"] = { sizeOf: () => undefined, manifest: () => undefined };

export interface KeepClosedOptions extends Omit<ClosureOptions, "known"> {
  readonly store: RescuingStore;
}

/**
 * Returns when the closure of all roots is in the store, and stays for long enough to publish them. Throws what `checkClosure`
 * does, and `STORE_UNAVAILABLE` if finding it takes so long that it would have to be found again.
 */
export async function keepClosed(roots: readonly Descriptor[], options: KeepClosedOptions): Promise<void> {
  const { store } = options;
  for (let tries = 0; !store.isFresh; tries++) {
    if (tries === maxTries) {
      const message = `Cannot publish: ${store.url} is too slow to look at all blobs of the images before one could be deleted`;
      throw new StowageError("STORE_UNAVAILABLE", message);
    }
    store.renew();
    await checkClosure(roots, { ...options, known: nothing });
  }
}
