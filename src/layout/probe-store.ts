/**
 * The probe checks the promise on which everything rests: exactly one of several conditional writes wins.
 *
 * A store that ignores conditions would lose images without an error. Such stores exist. Some answer 200 to every
 * write. Some honour the conditions of single writes, but not of writes at the same time. So nothing is published into
 * a store before the store has passed the probe. The object `oci-layout` says that it has passed. The process whose
 * probe has passed writes this object. Other processes find it and do not probe: a cold start costs one request.
 *
 * Some stores check the condition first and write afterwards. Only a second write between these two steps shows the
 * error, so the probe runs many races. Measured on real servers:
 *
 * - moto, writing to disk, lets both writers win in about one race of five. It passed none of 350 probes. An earlier
 *   version of the probe had two races of four writers: moto passed 23 of 40.
 * - s3s-fs lets both writers win in most races. On a quiet machine there are moments without such a race. It passed 2
 *   of 1,400 probes.
 *
 * Two writers on a key are enough. With six writers on one key, most write after the first write is over. Three pairs
 * on three keys send the same six requests, and found three times as many errors. Two writers also cost less time:
 * SeaweedFS makes the third writer on one key wait for 300 ms.
 */
import { StowageError } from "../errors.ts";
import { ociLayoutJson } from "../oci/manifest.ts";
import { type CallOptions, type ObjectStore, type PutCondition, answered } from "../storage/object-store.ts";
import { concurrently } from "../streams/concurrently.ts";
import { layoutKey, stagingPrefix } from "./keys.ts";

/**
 * The number of keys. Each key is the place of two races. All races take about 130 requests, at most 26 of them one
 * after the other: about one second at 30 ms a request.
 */
const contestedKeys = 24;
/** Three keys with two writers each use six connections. A Worker has no more. */
const keysAtOnce = 3;
const writersInRace = 2;
/**
 * In a race a store may refuse all writers. The race is repeated then. A store that refuses all writers this many times
 * fails.
 */
const triesForAWinner = 5;
/**
 * On every second key the first writer sends this many more bytes. TCP sends fewer bytes than that before the other
 * side answers. Some stores check the condition after the headers and then wait for the body: the second writer
 * overtakes the first one. At 30 ms a request, s3s-fs failed two of three such races, and less than half of the others.
 * More bytes gave no better result.
 */
const longLeadBytes = 16 * 1024;

/**
 * Returns once the store is known to honour conditional writes. Throws `STORE_UNAVAILABLE` with the condition that the
 * store ignores. Leaves no object of a probe behind.
 */
export async function probeStore(store: ObjectStore, options: CallOptions = {}): Promise<void> {
  // `get`, not `head`: S3 names a missing bucket only in the body of an answer.
  const certificate = await store.get(layoutKey, options);
  if (certificate !== undefined) {
    await certificate.body[Symbol.asyncIterator]().return?.();
    return;
  }
  await onFreshKey(store, options, writeAlone);
  await concurrently(Array(contestedKeys).keys(), keysAtOnce, (i) =>
    onFreshKey(store, options, (place) => writeInRaces(place, i % 2 === 0 ? longLeadBytes : 0)),
  );
  // conflict: it is there
  answered(await store.put(layoutKey, encode(ociLayoutJson), { condition: "absent", ...options }));
}

/** The place of a probe: a key that only this probe uses. */
interface ProbeKey extends CallOptions {
  readonly store: ObjectStore;
  readonly key: string;
}

async function onFreshKey(
  store: ObjectStore,
  options: CallOptions,
  work: (place: ProbeKey) => Promise<void>,
): Promise<void> {
  const key = `${stagingPrefix}probe-${crypto.randomUUID()}`;
  try {
    await work({ ...options, store, key });
  } finally {
    await store.delete(key, options).catch(() => undefined); // an object that stays under `staging/` expires
  }
}

/** Writes one after the other. Tries each condition once while it holds, and again when it does not hold any more. */
async function writeAlone(place: ProbeKey): Promise<void> {
  const created = await expectWritten(place, "absent");
  await expectWritten(place, { etag: created });
  await expectConflict(place, "absent");
  await expectConflict(place, { etag: created });
}

async function expectWritten(place: ProbeKey, condition: PutCondition): Promise<string> {
  const answer = await write(place, { condition });
  if (answer === "conflict") throw refused(place, condition, "it refused a write whose condition held");
  return answer.etag;
}

async function expectConflict(place: ProbeKey, condition: PutCondition): Promise<void> {
  const answer = await write(place, { condition });
  if (answer !== "conflict") throw refused(place, condition, "it took a write whose condition did not hold");
}

/**
 * Runs two races: first to create an object, then to replace it. `leadBytes`: the additional bytes of the first writer.
 */
async function writeInRaces(place: ProbeKey, leadBytes: number): Promise<void> {
  const created = await race(place, { condition: "absent", leadBytes });
  await race(place, { condition: { etag: created }, leadBytes });
}

interface Race {
  readonly condition: PutCondition;
  readonly leadBytes: number;
}

/** Starts all writers at the same time. Returns the ETag of the only winner. Throws if several writers win. */
async function race(place: ProbeKey, { condition, leadBytes }: Race): Promise<string> {
  for (let tries = 0; tries < triesForAWinner; tries += 1) {
    const writes = Array.from({ length: writersInRace }, (_, i) =>
      write(place, { condition, moreBytes: i === 0 ? leadBytes : 0 }),
    );
    const settled = await Promise.allSettled(writes); // all writes must be over before the key is deleted
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

/** Every write has different bytes. So a store that compares contents cannot mix up two writes. */
async function write(
  { store, key, signal }: ProbeKey,
  { condition, moreBytes = 0 }: Write,
): Promise<{ readonly etag: string } | "conflict"> {
  const bytes = encode(`probe ${crypto.randomUUID()}${".".repeat(moreBytes)}`);
  return answered(await store.put(key, bytes, { condition, signal }));
}

function refused({ store }: ProbeKey, condition: PutCondition, found: string): StowageError {
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
