/**
 * Guards a store: nothing is written before the store has passed the probe. A store that ignores conditional writes would lose
 * images in silence. Reads pass at once.
 */
import { StowageError } from "../errors.ts";
import { ociLayoutJson } from "../oci/manifest.ts";
import { ForwardingStore } from "../storage/forwarding-store.ts";
import { type CallOptions, type ObjectStore, type PutCondition, answered } from "../storage/object-store.ts";
import { orAbort } from "../streams/abortable.ts";
import { concurrently } from "../streams/concurrently.ts";
import { inTime } from "../streams/in-time.ts";
import { layoutKey, stagingPrefix } from "./keys.ts";

/**
 * Wraps a store, always in the same guard. The first write probes it, once for the process; a probe that failed is tried
 * again by the next.
 */
export function guardStore(store: ObjectStore): ObjectStore {
  if (store instanceof GuardedStore) return store;
  const guarded = guards.get(store) ?? new GuardedStore(store);
  guards.set(store, guarded);
  return guarded;
}

/** A probe makes some 130 small requests, six at a time. */
const maxProbeMs = 60_000;

/** A store that is opened again for each of many loads is probed once. */
const guards = new WeakMap<ObjectStore, ObjectStore>();

class GuardedStore extends ForwardingStore {
  readonly #unguarded: ObjectStore;
  #probe: Promise<void> | undefined;
  #hasPassed = false;

  constructor(store: ObjectStore) {
    super(store);
    this.#unguarded = store;
  }

  override async put(...args: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
    await this.#passed(args[2]);
    return super.put(...args);
  }

  override async write(...args: Parameters<ObjectStore["write"]>): ReturnType<ObjectStore["write"]> {
    await this.#passed(args[2]);
    return super.write(...args);
  }

  override async copy(...args: Parameters<ObjectStore["copy"]>): ReturnType<ObjectStore["copy"]> {
    await this.#passed(args[2]);
    return super.copy(...args);
  }

  override async delete(...args: Parameters<ObjectStore["delete"]>): ReturnType<ObjectStore["delete"]> {
    await this.#passed(args[1]);
    return super.delete(...args);
  }

  /**
   * All callers share one probe. A caller's signal ends only its own wait. A wait has an end: on Workers the request that
   * began the probe may be stopped, and the probe with it.
   */
  async #passed({ signal }: CallOptions = {}): Promise<void> {
    while (!this.#hasPassed) {
      const probe = (this.#probe ??= this.#startProbe());
      const isOver = await orAbort(inTime(probe, maxProbeMs), signal);
      if (!isOver && this.#probe === probe) this.#probe = undefined;
    }
  }

  async #startProbe(): Promise<void> {
    try {
      await probeStore(this.#unguarded);
      this.#hasPassed = true;
    } catch (error) {
      this.#probe = undefined;
      throw error;
    }
  }
}

// The probe proves the promise that everything rests on: exactly one of several conditional writes wins.
//
// A store that ignores conditions would lose images in silence, and such stores exist: some answer 200 to every write,
// some hold conditions one by one but not in a race. So nothing is published into a store before it has passed.
// `oci-layout` at its root is the certificate. The process that has seen the store pass writes it. Other processes find it and
// need no probe: a cold start costs one request.
//
// A store that looks first and writes afterwards is caught only by a race that meets the moment between the two, so that
// many are run. Measured on real servers: moto, writing to disk, lets both writers win in about one race of five, and
// passed none of 350 probes; two races of four writers, as there once were, it passed 23 times of 40. s3s-fs loses most
// races, but on a quiet machine there are moments in which it loses none: it passed 2 of 1,400. Two writers are enough: of
// six on one key most meet a write that is over, and three pairs on three keys caught three times as much with the same
// six requests. It is kinder too: SeaweedFS makes the third writer on one key wait for 300 ms.

/** Each is the place of two races. All take some 130 requests, but 26 after each other: about a second at 30 ms each. */
const contestedKeys = 24;
/** With two writers on each these are six connections, which is all that a Worker has. */
const keysAtOnce = 3;
const writersInRace = 2;
/** Under a race a store may fail every writer, for once; it may not do so again and again. */
const triesForAWinner = 5;
/**
 * How much more the first writer sends on every other key: more than TCP lets out before it hears from the other side. A
 * store that looks when it has read the headers, and then waits for the body, lets the second writer in meanwhile: at
 * 30 ms a request s3s-fs lost two of three such races, and less than half of the others. More bytes did no better.
 */
const longLeadBytes = 16 * 1024;

/**
 * Returns once the store is known to honour conditional writes. Throws `STORE_UNAVAILABLE` with the condition that the store
 * ignores. Leaves no object of a probe behind.
 */
export async function probeStore(store: ObjectStore, options: CallOptions = {}): Promise<void> {
  // Not `head`: a missing bucket has a name only in the body of an answer.
  const certificate = await store.get(layoutKey, options);
  if (certificate !== undefined) {
    await certificate.body[Symbol.asyncIterator]().return?.();
    return;
  }
  await onFreshKey(store, options, writeAlone);
  await concurrently(Array(contestedKeys).keys(), keysAtOnce, (i) =>
    onFreshKey(store, options, (place) => writeInRaces(place, i % 2 === 0 ? longLeadBytes : 0)),
  );
  answered(await store.put(layoutKey, encode(ociLayoutJson), { condition: "absent", ...options })); // or another probe did
}

/** The place of a probe: a key that only this probe uses. */
interface Place extends CallOptions {
  readonly store: ObjectStore;
  readonly key: string;
}

async function onFreshKey(
  store: ObjectStore,
  options: CallOptions,
  work: (place: Place) => Promise<void>,
): Promise<void> {
  const key = `${stagingPrefix}probe-${crypto.randomUUID()}`;
  try {
    await work({ ...options, store, key });
  } finally {
    await store.delete(key, options).catch(() => undefined); // what stays under `staging/` expires
  }
}

/** One write after the other: each condition while it holds, and again when it does so no longer. */
async function writeAlone(place: Place): Promise<void> {
  const created = await expectWritten(place, "absent");
  await expectWritten(place, { etag: created });
  await expectConflict(place, "absent");
  await expectConflict(place, { etag: created });
}

async function expectWritten(place: Place, condition: PutCondition): Promise<string> {
  const answer = await write(place, { condition });
  if (answer === "conflict") throw refused(place, condition, "it refused a write whose condition held");
  return answer.etag;
}

async function expectConflict(place: Place, condition: PutCondition): Promise<void> {
  const answer = await write(place, { condition });
  if (answer !== "conflict") throw refused(place, condition, "it took a write whose condition did not hold");
}

/** The writers create an object, and then they replace it. `leadBytes` are how many more the first of them sends. */
async function writeInRaces(place: Place, leadBytes: number): Promise<void> {
  const created = await race(place, { condition: "absent", leadBytes });
  await race(place, { condition: { etag: created }, leadBytes });
}

interface Race {
  readonly condition: PutCondition;
  readonly leadBytes: number;
}

/** Lets the writers loose and returns the ETag of the only one that won. */
async function race(place: Place, { condition, leadBytes }: Race): Promise<string> {
  for (let tries = 0; tries < triesForAWinner; tries += 1) {
    const writes = Array.from({ length: writersInRace }, (_, i) =>
      write(place, { condition, moreBytes: i === 0 ? leadBytes : 0 }),
    );
    const settled = await Promise.allSettled(writes); // none may still be under way when the key is cleaned up
    const answers = settled.map((result) => {
      if (result.status === "rejected") throw result.reason;
      return result.value;
    });
    const [winner, ...others] = answers.filter((answer) => answer !== "conflict");
    if (others.length > 0) {
      throw refused(place, condition, `in a race ${others.length + 1} of ${writersInRace} writers won, expected 1`);
    }
    if (winner !== undefined) return winner.etag;
  }
  throw refused(place, condition, `in ${triesForAWinner} races none of ${writersInRace} writers won, expected 1`);
}

interface Write {
  readonly condition: PutCondition;
  readonly moreBytes?: number;
}

/** Each write has bytes of its own, so that a store that compares contents cannot take it for another. */
async function write(
  { store, key, signal }: Place,
  { condition, moreBytes = 0 }: Write,
): Promise<{ readonly etag: string } | "conflict"> {
  const bytes = encode(`probe ${crypto.randomUUID()}${".".repeat(moreBytes)}`);
  return answered(await store.put(key, bytes, { condition, signal }));
}

function refused({ store }: Place, condition: PutCondition, found: string): StowageError {
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
