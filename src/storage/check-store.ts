/** Can a store be used at all? One small read tells of a missing bucket, wrong keys, and a server that is not there. */
import { StowageError } from "../errors.ts";
import { orAbort } from "../streams/abortable.ts";
import { withinSeconds } from "../streams/in-time.ts";
import { layoutKey } from "./keys.ts";
import type { CallOptions, StoreReader } from "./object-store.ts";

/** More than the 10 seconds that the SDK waits for a connection, whose error says more. */
const maxSeconds = 12;

/**
 * Reads `oci-layout`, which need not be there: a store may be empty. Not by `head`: a missing bucket has a name only in the
 * body of an answer. Throws `STORE_UNAVAILABLE` with what is wrong.
 */
export async function checkStore(
  store: StoreReader & { readonly url: string },
  options: CallOptions = {},
): Promise<void> {
  const late = (): StowageError =>
    new StowageError("STORE_UNAVAILABLE", `Cannot use ${store.url}: it did not answer within ${maxSeconds} seconds`);
  await withinSeconds({ ...options, seconds: maxSeconds, late }, async (signal) => {
    const layout = await orAbort(store.get(layoutKey, { signal }), signal);
    await layout?.body[Symbol.asyncIterator]().return?.();
  });
}
