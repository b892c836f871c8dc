/**
 * Counts the requests to a store: those of one load, for its receipt, and those of the whole service, for its log and
 * its metrics. It is a decorator with the store's interface.
 */
import { StowageError } from "../errors.ts";
import { type CopyFrom, ForwardingStore } from "./forwarding-store.ts";
import type { ListedObject, ObjectStore, WriteResult } from "./object-store.ts";

/**
 * Requests by kind:
 *
 * - `put` counts a whole object, and the two requests that open and complete an upload in parts. `part` counts its
 *   parts.
 * - `copy` counts each copied part of an object, also if the store writes the bytes again because it cannot copy.
 * - `list` counts a listing once. A bucket bills each of its pages.
 *
 * A retry by the store itself is not counted, but billed.
 */
export interface RequestCounts {
  readonly head: number;
  readonly get: number;
  readonly put: number;
  readonly part: number;
  readonly copy: number;
  readonly list: number;
  readonly delete: number;
}

/** A call that is over. */
export interface StoreCall {
  readonly operation: "head" | "get" | "put" | "write" | "copy" | "list" | "delete";
  /** As `RequestCounts` counts them. */
  readonly requests: number;
  /** Until the answer: for `get` until its first bytes, for `list` until the last object. */
  readonly ms: number;
  /** Did the store fail, or not answer? */
  readonly hasFailed: boolean;
}

export class CountingStore extends ForwardingStore {
  readonly #onCall: ((call: StoreCall) => void) | undefined;
  readonly #requests = { head: 0, get: 0, put: 0, part: 0, copy: 0, list: 0, delete: 0 };

  constructor(store: ObjectStore, onCall?: (call: StoreCall) => void) {
    super(store);
    this.#onCall = onCall;
  }

  /** The counts as they are now. */
  get requests(): RequestCounts {
    return { ...this.#requests };
  }

  /** The number of all requests. */
  get total(): number {
    return Object.values(this.#requests).reduce((sum, count) => sum + count, 0);
  }

  override head(...args: Parameters<ObjectStore["head"]>): ReturnType<ObjectStore["head"]> {
    this.#requests.head += 1;
    return this.#timed("head", super.head(...args));
  }

  override get(...args: Parameters<ObjectStore["get"]>): ReturnType<ObjectStore["get"]> {
    this.#requests.get += 1;
    return this.#timed("get", super.get(...args));
  }

  override put(...args: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
    this.#requests.put += 1;
    return this.#timed("put", super.put(...args));
  }

  /** The number of parts is known after the write. */
  override async write(...args: Parameters<ObjectStore["write"]>): ReturnType<ObjectStore["write"]> {
    const result = await this.#timed("write", super.write(...args), ({ parts }) => (parts === 0 ? 1 : 2 + parts));
    this.#requests.put += result.parts === 0 ? 1 : 2;
    this.#requests.part += result.parts;
    return result;
  }

  override async copy(...args: Parameters<ObjectStore["copy"]>): ReturnType<ObjectStore["copy"]> {
    const result = await this.#timed("copy", super.copy(...args), copyRequests);
    this.#countCopy(result);
    return result;
  }

  override async copyFrom(...args: Parameters<CopyFrom>): ReturnType<CopyFrom> {
    const result = await this.#timed("copy", super.copyFrom(...args), (done) =>
      done === "refused" ? 0 : copyRequests(done),
    );
    if (result !== "refused") this.#countCopy(result);
    return result;
  }

  override list(...args: Parameters<ObjectStore["list"]>): ReturnType<ObjectStore["list"]> {
    this.#requests.list += 1;
    return this.#timedList(super.list(...args));
  }

  override delete(...args: Parameters<ObjectStore["delete"]>): ReturnType<ObjectStore["delete"]> {
    this.#requests.delete += 1;
    return this.#timed("delete", super.delete(...args));
  }

  #timed<T>(
    operation: StoreCall["operation"],
    answer: Promise<T>,
    requestsOf: (result: T) => number = one,
  ): Promise<T> {
    const onCall = this.#onCall;
    if (onCall === undefined) return answer;
    const startMs = performance.now();
    const tell = (requests: number, hasFailed: boolean): void =>
      onCall({ operation, requests, ms: performance.now() - startMs, hasFailed });
    answer.then(
      (result) => tell(requestsOf(result), isUnanswered(result)),
      (error: unknown) => tell(1, isOfStore(error)),
    );
    return answer;
  }

  async *#timedList(objects: ReturnType<ObjectStore["list"]>): AsyncGenerator<ListedObject, void> {
    const startMs = performance.now();
    let hasFailed = false;
    try {
      yield* objects;
    } catch (error) {
      hasFailed = isOfStore(error);
      throw error;
    } finally {
      this.#onCall?.({ operation: "list", requests: 1, ms: performance.now() - startMs, hasFailed });
    }
  }

  #countCopy({ outcome, parts }: WriteResult): void {
    if (outcome === "written") this.#requests.copy += Math.max(1, parts);
    if (parts > 0) this.#requests.put += 2;
  }
}

function one(): number {
  return 1;
}

function copyRequests({ outcome, parts }: WriteResult): number {
  return (outcome === "written" ? Math.max(1, parts) : 0) + (parts > 0 ? 2 : 0);
}

function isUnanswered(result: unknown): boolean {
  return typeof result === "object" && result !== null && "unanswered" in result;
}

/** A body that breaks off fails a call too, and is not the store's fault. */
function isOfStore(error: unknown): boolean {
  return !(error instanceof StowageError) || error.code.startsWith("STORE_");
}
