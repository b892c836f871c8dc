/**
 * Proves that a store keeps the promise on which everything rests: that of several conditional writes one wins.
 *
 * A store that ignores conditions would lose images in silence, and such stores exist: some answer 200 to every write,
 * some hold conditions one by one but not in a race. So nothing is published into a store before it has passed, and
 * `oci-layout` at its root is the certificate: it is written by whoever has seen the store pass, so that whoever finds
 * it need not try again, and a cold start costs one request.
 */
import { StowageError } from "../errors.ts";
import { ociLayoutJson } from "../oci/repository-index.ts";
import { layoutKey, stagingPrefix } from "./keys.ts";
import type { CallOptions, ObjectStore, PutCondition } from "./object-store.ts";

const writersInRace = 4;
const rounds = 2;
/** Under a race a store may fail every writer, for once; it may not do so again and again. */
const triesForAWinner = 5;

/**
 * Returns once the store is known to honour conditional writes. Throws `STORE_UNAVAILABLE`, naming what it ignores, and
 * leaves no probe behind.
 */
export async function probeStore(store: ObjectStore, options: CallOptions = {}): Promise<void> {
  // Not `head`: a missing bucket has a name only in the body of an answer.
  const certificate = await store.get(layoutKey, options);
  if (certificate !== undefined) {
    await certificate.body[Symbol.asyncIterator]().return?.();
    return;
  }
  for (let round = 0; round < rounds; round += 1) await probeOnce(store, options);
  await store.putIf(layoutKey, encode(ociLayoutJson), "absent", options); // or somebody else did
}

/** One fresh key: a race to create it, a race to replace it, and then both once more, each alone and too late. */
async function probeOnce(store: ObjectStore, options: CallOptions): Promise<void> {
  const key = `${stagingPrefix}probe-${crypto.randomUUID()}`;
  try {
    const created = await race(store, { ...options, key, condition: "absent" });
    await race(store, { ...options, key, condition: { etag: created } });
    await expectConflict(store, { ...options, key, condition: "absent" });
    await expectConflict(store, { ...options, key, condition: { etag: created } });
  } finally {
    await store.delete(key, options).catch(() => undefined); // what stays under `staging/` expires
  }
}

interface Probe extends CallOptions {
  readonly key: string;
  readonly condition: PutCondition;
}

/** Lets several writers loose on one key and returns the ETag of the only one that won. */
async function race(store: ObjectStore, probe: Probe): Promise<string> {
  for (let tries = 0; tries < triesForAWinner; tries += 1) {
    const writes = Array.from({ length: writersInRace }, () => write(store, probe));
    const settled = await Promise.allSettled(writes); // none may still be under way when the key is cleaned up
    const answers = settled.map((result) => {
      if (result.status === "rejected") throw result.reason;
      return result.value;
    });
    const [winner, ...others] = answers.filter((answer) => answer !== "conflict");
    if (others.length > 0) {
      throw refused(store, probe, `${others.length + 1} of ${writersInRace} racing writers won, expected 1`);
    }
    if (winner !== undefined) return winner.etag;
  }
  throw refused(store, probe, `none of ${writersInRace} racing writers won, expected 1`);
}

async function expectConflict(store: ObjectStore, probe: Probe): Promise<void> {
  const answer = await write(store, probe);
  if (answer !== "conflict") throw refused(store, probe, "it took a write whose condition did not hold");
}

/** Each write has bytes of its own, so that a store that compares contents cannot take it for another. */
function write(store: ObjectStore, { key, condition, signal }: Probe): ReturnType<ObjectStore["putIf"]> {
  return store.putIf(key, encode(`probe ${crypto.randomUUID()}`), condition, { signal });
}

function refused(store: ObjectStore, { condition }: Probe, found: string): StowageError {
  const header = condition === "absent" ? "If-None-Match" : "If-Match";
  return new StowageError(
    "STORE_UNAVAILABLE",
    `Cannot use ${store.url}: it ignores ${header}: ${found}. Images loaded at the same time would be lost`,
    { detail: { store: store.url, condition: header, found } },
  );
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
