/** Counts the requests of one load to a store, for its receipt. It is a decorator with the store's interface. */
import { type CopyFrom, ForwardingStore } from "./forwarding-store.ts";
import type { ObjectStore, WriteResult } from "./object-store.ts";

/**
 * Requests by kind, as a bucket bills them:
 *
 * - `put` counts a whole object, and the two requests that open and complete an upload in parts. `part` counts its
 *   parts.
 * - `copy` counts each copied part of an object, also if the store writes the bytes again because it cannot copy.
 * - `list` counts a listing once, with all its pages.
 *
 * A retry by the store itself is not counted.
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

export class CountingStore extends ForwardingStore {
  readonly #requests = { head: 0, get: 0, put: 0, part: 0, copy: 0, list: 0, delete: 0 };

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
    return super.head(...args);
  }

  override get(...args: Parameters<ObjectStore["get"]>): ReturnType<ObjectStore["get"]> {
    this.#requests.get += 1;
    return super.get(...args);
  }

  override put(...args: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
    this.#requests.put += 1;
    return super.put(...args);
  }

  /** The number of parts is known after the write. */
  override async write(...args: Parameters<ObjectStore["write"]>): ReturnType<ObjectStore["write"]> {
    const result = await super.write(...args);
    this.#requests.put += result.parts === 0 ? 1 : 2;
    this.#requests.part += result.parts;
    return result;
  }

  override async copy(...args: Parameters<ObjectStore["copy"]>): ReturnType<ObjectStore["copy"]> {
    const result = await super.copy(...args);
    this.#countCopy(result);
    return result;
  }

  override async copyFrom(...args: Parameters<CopyFrom>): ReturnType<CopyFrom> {
    const result = await super.copyFrom(...args);
    if (result !== "refused") this.#countCopy(result);
    return result;
  }

  override list(...args: Parameters<ObjectStore["list"]>): ReturnType<ObjectStore["list"]> {
    this.#requests.list += 1;
    return super.list(...args);
  }

  override delete(...args: Parameters<ObjectStore["delete"]>): ReturnType<ObjectStore["delete"]> {
    this.#requests.delete += 1;
    return super.delete(...args);
  }

  #countCopy({ outcome, parts }: WriteResult): void {
    if (outcome === "written") this.#requests.copy += Math.max(1, parts);
    if (parts > 0) this.#requests.put += 2;
  }
}
