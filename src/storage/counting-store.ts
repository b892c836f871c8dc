/** Counts what one load asks of a store, for its receipt: a decorator over the same interface. */
import { ForwardingStore } from "./forwarding-store.ts";
import type { ObjectStore } from "./object-store.ts";

/**
 * Requests by kind, as a bucket would bill them. `put` has the two that open and complete an upload in parts, `part` its
 * parts; `copy` has each part of a staged object that becomes a blob, also where the store reads and writes it, since it
 * cannot copy; a listing counts once, however many pages it takes; what a store asks again by itself is not counted.
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

  override head(...args: Parameters<ObjectStore["head"]>): ReturnType<ObjectStore["head"]> {
    this.#requests.head += 1;
    return super.head(...args);
  }

  override get(...args: Parameters<ObjectStore["get"]>): ReturnType<ObjectStore["get"]> {
    this.#requests.get += 1;
    return super.get(...args);
  }

  /** In how many parts a blob goes is known once it has gone, so it counts then. */
  override async putBlob(...args: Parameters<ObjectStore["putBlob"]>): ReturnType<ObjectStore["putBlob"]> {
    const result = await super.putBlob(...args);
    this.#countUpload(result.parts);
    return result;
  }

  override putIf(...args: Parameters<ObjectStore["putIf"]>): ReturnType<ObjectStore["putIf"]> {
    this.#requests.put += 1;
    return super.putIf(...args);
  }

  override put(...args: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
    this.#requests.put += 1;
    return super.put(...args);
  }

  override async putStaged(...args: Parameters<ObjectStore["putStaged"]>): ReturnType<ObjectStore["putStaged"]> {
    const result = await super.putStaged(...args);
    this.#countUpload(result.parts);
    return result;
  }

  override async promote(...args: Parameters<ObjectStore["promote"]>): ReturnType<ObjectStore["promote"]> {
    const result = await super.promote(...args);
    if (result.outcome === "written") this.#requests.copy += Math.max(1, result.parts);
    if (result.parts > 0) this.#requests.put += 2;
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

  #countUpload(parts: number): void {
    this.#requests.put += parts === 0 ? 1 : 2;
    this.#requests.part += parts;
  }
}
