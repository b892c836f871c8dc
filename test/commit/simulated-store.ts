/**
 * A bucket in virtual time, as commits use it. Each request has its course: it may take effect late, twice or never, and its
 * sender may be told so, be told nothing, or be dead by then. An ETag is the hash of the bytes, as S3's is.
 */
import { createHash } from "node:crypto";
import type { StowageError } from "../../src/errors.ts";
import type {
  ListedObject,
  ObjectStore,
  PutCondition,
  PutOptions,
  PutResult,
  StoredObject,
} from "../../src/storage/object-store.ts";
import type { Course, Request } from "./course.ts";
import type { Scheduler } from "./scheduler.ts";

interface SimulatedObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
}

/** What all writers see. */
export class SimulatedBucket {
  readonly objects = new Map<string, SimulatedObject>();

  put(key: string, bytes: Uint8Array, condition: PutCondition): { readonly etag: string } | "conflict" {
    const found = this.objects.get(key)?.etag;
    if (found !== (condition === "absent" ? undefined : condition.etag)) return "conflict";
    const etag = createHash("md5").update(bytes).digest("hex");
    this.objects.set(key, { bytes, etag });
    return { etag };
  }

  /** No commit asks for the age of an object. */
  list(prefix: string): ListedObject[] {
    const found = [...this.objects].filter(([key]) => key.startsWith(prefix));
    const infos = found.map(([key, { bytes, etag }]) => ({ key, size: bytes.length, etag, modifiedMs: 0 }));
    return infos.toSorted((a, b) => (a.key < b.key ? -1 : 1));
  }
}

/** The error class of the code under test: a changed copy of it has a class of its own. */
export type ErrorClass = typeof StowageError;

export interface SimulatedStoreOptions {
  readonly bucket: SimulatedBucket;
  readonly scheduler: Scheduler;
  readonly courseOf: (request: Request) => Course;
  readonly StowageError: ErrorClass;
  /** Names the sender in the trace. */
  readonly sender: string;
  /** Called when a write of this sender takes effect. */
  readonly onWrite?: ((write: EffectiveWrite) => void) | undefined;
  /** Called when the sender sends its last request. */
  readonly onDeath?: (() => void) | undefined;
  /** A store that sends again what is to be sent once. */
  readonly ignoresOnce?: boolean | undefined;
}

/** A write that took effect, with what was there before and what its sender had been told of by then. */
export interface EffectiveWrite {
  readonly key: string;
  readonly before: Uint8Array | undefined;
  readonly after: Uint8Array;
  /** The keys of the latest listing that the sender knew when it sent the write. */
  readonly listed: readonly string[];
}

/** The bucket as one sender reaches it. Only what commits need: the rest throws. */
export class SimulatedStore implements ObjectStore {
  readonly url = "simulated:";
  readonly partBytes = 8 * 1024 * 1024;
  /** Requests that were sent, as `<method> <key>`. */
  readonly sent: string[] = [];
  /** Keys whose deletion may not have taken effect. */
  readonly notDeleted = new Set<string>();
  readonly #options: SimulatedStoreOptions;
  #listed: readonly string[] = [];
  #isDead = false;

  constructor(options: SimulatedStoreOptions) {
    this.#options = options;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  async get(key: string): Promise<StoredObject | undefined> {
    const [found] = await this.#send({ method: "GET", key, isOnce: false }, () =>
      this.#options.bucket.objects.get(key),
    );
    return found && { key, etag: found.etag, size: found.bytes.length, body: bodyOf(found.bytes) };
  }

  async put(
    key: string,
    bytes: Uint8Array,
    { condition = "absent", once = false }: PutOptions = {},
  ): Promise<PutResult> {
    const { bucket, onWrite, StowageError, ignoresOnce = false } = this.#options;
    const listed = this.#listed;
    const isOnce = once && !ignoresOnce;
    const takeEffect = (): { readonly etag: string } | "conflict" => {
      const before = bucket.objects.get(key)?.bytes;
      const result = bucket.put(key, bytes, condition);
      if (result !== "conflict") onWrite?.({ key, before, after: bytes, listed });
      return result;
    };
    try {
      const [outcome] = await this.#send({ method: "PUT", key, isOnce }, takeEffect);
      return outcome ?? "conflict";
    } catch (error) {
      if (!(error instanceof StowageError) || error.detail?.["status"] === 403) throw error;
      return { unanswered: error };
    }
  }

  async *list(prefix: string): AsyncGenerator<ListedObject> {
    const request: Request = { method: "LIST", key: prefix, isOnce: false };
    const [first = [], second = first] = await this.#send(request, () => this.#options.bucket.list(prefix));
    const page = first[first.length >> 1]?.key ?? ""; // the second half is listed later
    const infos = [...first.filter(({ key }) => key < page), ...second.filter(({ key }) => key >= page)];
    this.#listed = infos.map(({ key }) => key);
    yield* infos;
  }

  async delete(key: string): Promise<undefined> {
    this.notDeleted.add(key);
    await this.#send({ method: "DELETE", key, isOnce: false }, () => {
      this.#options.bucket.objects.delete(key);
      this.notDeleted.delete(key);
    });
  }

  head = unexpected;
  write = unexpected;
  copy = unexpected;
  writeBufferBytes = unexpected;
  copyBufferBytes = unexpected;

  /** Lets the request take its course. Returns what its effects came to; of a write, the one that its sender is told of. */
  async #send<T>(request: Request, takeEffect: () => T): Promise<T[]> {
    const { scheduler, courseOf, sender, StowageError } = this.#options;
    if (this.#isDead) return new Promise(() => undefined);
    const course = courseOf(request);
    const name = `${request.method} ${request.key}`;
    const number = this.sent.push(name);
    const note = (what: string): void => scheduler.note(`${sender} #${number} ${name}: ${what}`);
    note(course.isLast ? "sent, then killed" : "sent");
    if (course.isLast) {
      this.#isDead = true;
      this.#options.onDeath?.();
    }
    const results: T[] = [];
    for (const ms of course.effectsMs) {
      scheduler.after(ms, () => {
        results.push(takeEffect());
        note(`takes effect${results.at(-1) === "conflict" ? ", conflict" : ""}`);
      });
    }
    return new Promise((resolve, reject) => {
      if (course.answerMs === undefined) return;
      scheduler.after(course.answerMs, () => {
        if (this.#isDead) return;
        note(`answered (${course.answer})`);
        const { answer } = course;
        if (answer === "first") return resolve([...results]);
        if (answer === "last") return resolve(results.slice(-1));
        const detail = answer === "none" ? {} : { status: answer };
        return reject(new StowageError("STORE_UNAVAILABLE", `no good answer to ${name}`, { detail }));
      });
    });
  }
}

function unexpected(): never {
  throw new Error("found a request that no commit makes");
}

async function* bodyOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield Uint8Array.from(bytes);
}
