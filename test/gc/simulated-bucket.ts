/**
 * A bucket in virtual time, as loads, copies, pushes and gc use it. A request can be slow. It can get no answer and still take effect, up
 * to a quarter of an hour later. It can be the last request of its sender. A request with `once` is sent once. A delete without
 * `once` may come twice.
 */
import { createHash } from "node:crypto";
import type { StowageError } from "../../src/errors.ts";
import type {
  ByteSource,
  CopyOptions,
  ListedObject,
  ObjectInfo,
  ObjectStore,
  PutCondition,
  PutOptions,
  PutResult,
  SendOptions,
  StoredObject,
  Unanswered,
  WriteOptions,
  WriteResult,
} from "../../src/storage/object-store.ts";
import type { Scheduler } from "../commit/scheduler.ts";

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
/** The assumption of `layout/marks.ts`, which this bucket keeps. */
const lateMs = 15 * minute;
const timeoutMs = minute;

interface SimulatedObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly modifiedMs: number;
}

export type Objects = Map<string, SimulatedObject>;

/** The error class of the code under test: a changed copy of it has a class of its own. */
export type ErrorClass = typeof StowageError;

export interface SimulatedStoreOptions {
  readonly objects: Objects;
  readonly scheduler: Scheduler;
  readonly random: () => number;
  /** Do others come in between where that matters? */
  readonly isTense: boolean;
  /** Is the sender held up now and then? */
  readonly isHeldUp: boolean;
  /** Of a thousand requests, so many go wrong. */
  readonly faults: number;
  /** The same for deletions. */
  readonly deleteFaults: number;
  readonly StowageError: ErrorClass;
  /** Names the sender in the trace. */
  readonly sender: string;
  /** Called when a write has taken effect. */
  readonly onChange: (key: string) => void;
}

/** The bucket as one process reaches it. */
export class SimulatedStore implements ObjectStore {
  readonly url = "simulated:";
  /** Every blob is streamed: nothing in the process then takes real time, such as a digest that is worked out elsewhere. */
  readonly partBytes = 0;
  isDead = false;
  readonly #options: SimulatedStoreOptions;

  constructor(options: SimulatedStoreOptions) {
    this.#options = options;
  }

  async head(key: string): Promise<ObjectInfo | undefined> {
    const found = await this.#send("HEAD", key, () => this.#options.objects.get(key));
    return found && { key, etag: found.etag, size: found.bytes.length };
  }

  async get(key: string): Promise<StoredObject | undefined> {
    const found = await this.#send("GET", key, () => this.#options.objects.get(key));
    return found && { key, etag: found.etag, size: found.bytes.length, body: once(found.bytes) };
  }

  async *list(prefix: string): AsyncGenerator<ListedObject> {
    const page = (): ListedObject[] =>
      [...this.#options.objects]
        .filter(([key]) => key.startsWith(prefix))
        .map(([key, { bytes, etag, modifiedMs }]) => ({ key, size: bytes.length, etag, modifiedMs }))
        .toSorted((a, b) => (a.key < b.key ? -1 : 1));
    const first = await this.#send("LIST", prefix, page);
    const half = first[first.length >> 1]?.key;
    yield* first.filter(({ key }) => half === undefined || key < half);
    if (half === undefined) return;
    const rest = await this.#send("LIST", `${prefix} from ${half}`, page);
    yield* rest.filter(({ key }) => key >= half);
  }

  async write(key: string, { body }: ByteSource, { condition }: WriteOptions = {}): Promise<WriteResult> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of body) chunks.push(chunk);
    const answer = await this.#send("PUT", key, () => this.#put(key, Buffer.concat(chunks), condition));
    return { outcome: answer === "conflict" ? "conflict" : "written", parts: 0 };
  }

  async put(key: string, bytes: Uint8Array, { condition }: PutOptions = {}): Promise<PutResult> {
    return this.#send("PUT", key, () => this.#put(key, bytes, condition)).catch(this.#unanswered);
  }

  async delete(key: string, { once: isOnce = false }: SendOptions = {}): Promise<Unanswered | undefined> {
    const { objects, scheduler, random, onChange } = this.#options;
    const takeEffect = (): void => {
      if (objects.delete(key)) onChange(key);
    };
    const sent = this.#send("DELETE", key, takeEffect).then(() => undefined);
    if (isOnce) return sent.catch(this.#unanswered);
    await sent;
    if (random() < 0.1) scheduler.after(random() * lateMs, takeEffect);
    return undefined;
  }

  /** As `S3Store` does it: the condition is checked first, and the copy has none. */
  async copyFrom(source: ObjectStore, from: string, to: string, { condition }: CopyOptions): Promise<WriteResult> {
    const found = await source.get(from);
    if (found === undefined) throw new Error(`expected ${from} in the source`);
    const chunks: Uint8Array[] = [];
    for await (const chunk of found.body) chunks.push(chunk);
    const expected = condition === "absent" ? undefined : condition?.etag;
    if ((await this.head(to))?.etag !== expected) return { outcome: "conflict", parts: 0 };
    await this.#send("COPY", to, () => this.#put(to, Buffer.concat(chunks)));
    return { outcome: "written", parts: 0 };
  }

  async copy(from: string, to: string, options: CopyOptions): Promise<WriteResult> {
    return this.copyFrom(this, from, to, options);
  }

  writeBufferBytes = (): number => 0;
  copyBufferBytes = (): number => 0;

  readonly #unanswered = (error: unknown): Unanswered => {
    if (error instanceof this.#options.StowageError) return { unanswered: error };
    throw error;
  };

  #put(key: string, bytes: Uint8Array, condition?: PutCondition): { readonly etag: string } | "conflict" {
    const { objects, scheduler, onChange } = this.#options;
    const expected = condition === "absent" ? undefined : condition?.etag;
    if (condition !== undefined && objects.get(key)?.etag !== expected) return "conflict";
    const etag = createHash("md5").update(bytes).digest("hex");
    objects.set(key, { bytes, etag, modifiedMs: scheduler.now });
    onChange(key);
    return { etag };
  }

  async #send<T>(method: string, key: string, takeEffect: () => T): Promise<T> {
    const { scheduler, random, faults, deleteFaults, sender, StowageError } = this.#options;
    if (this.isDead) return new Promise(() => undefined);
    const note = (what: string): void =>
      scheduler.note(`${sender} ${method} ${key.replace(/[0-9a-f]{56}/, "…")}: ${what}`);
    const fault =
      random() * 1000 < (method === "DELETE" ? deleteFaults : faults) ? Math.floor(random() * 4) : undefined;
    const effectMs = this.#slowness(method, key);
    return new Promise((resolve, reject) => {
      const effect = (): T => {
        const result = takeEffect();
        note(typeof result === "string" ? result : "takes effect");
        return result;
      };
      const fail = (): void => {
        if (!this.isDead) reject(new StowageError("STORE_UNAVAILABLE", `no answer to ${method} ${key}`));
      };
      if (fault === undefined) {
        scheduler.after(effectMs, () => {
          const result = effect();
          scheduler.after(this.#slowness("ANSWER", key), () => {
            if (!this.isDead) resolve(result);
          });
        });
        return;
      }
      note(["lost", "late", "unanswered", "sent, then killed"][fault] ?? "");
      this.isDead ||= fault === 3;
      if (fault === 1 || fault === 3) scheduler.after(random() * lateMs, effect);
      if (fault === 2) scheduler.after(Math.min(effectMs, timeoutMs), effect);
      scheduler.after(timeoutMs, fail);
    });
  }

  /**
   * Mostly fast, but in some schedules never where marks are moved and blobs deleted, so that others come in between. A large
   * blob can take an hour; a process can be held up for as long, and so can one that reads very many manifests.
   */
  #slowness(method: string, key: string): number {
    const { random, isTense, isHeldUp } = this.#options;
    const chance = random();
    const isMark = key.startsWith("condemned/");
    if (isHeldUp && chance < 0.1 && method === "GET" && key.startsWith("blobs/")) return random() * 2 * hour;
    if (isHeldUp && chance < 0.1 && method === "ANSWER" && isMark) return random() * 60 * minute;
    if (isTense && (isMark || method === "DELETE")) return random() * 20 * second;
    if (chance < 0.8) return random() * 200;
    if (chance < 0.97) return random() * 10 * second;
    if (chance > 0.99 && ["PUT", "COPY"].includes(method) && key.startsWith("blobs/")) return random() * 60 * minute;
    return random() * 40 * second;
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield Uint8Array.from(bytes);
}
