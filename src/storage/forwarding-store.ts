/** What decorators of a store have in common: each passes on what it does not look at itself. */
import type { ObjectStore, Presigner } from "./object-store.ts";

/** A store that hands every call to another one. */
export class ForwardingStore implements ObjectStore {
  readonly #store: ObjectStore;

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  get url(): string {
    return this.#store.url;
  }

  get partBytes(): number {
    return this.#store.partBytes;
  }

  get maxOpenBodies(): number | undefined {
    return this.#store.maxOpenBodies;
  }

  get presigner(): Presigner | undefined {
    return this.#store.presigner;
  }

  streamBufferBytes(size: number): number {
    return this.#store.streamBufferBytes(size);
  }

  promoteBufferBytes(size: number): number {
    return this.#store.promoteBufferBytes(size);
  }

  head(...args: Parameters<ObjectStore["head"]>): ReturnType<ObjectStore["head"]> {
    return this.#store.head(...args);
  }

  get(...args: Parameters<ObjectStore["get"]>): ReturnType<ObjectStore["get"]> {
    return this.#store.get(...args);
  }

  putBlob(...args: Parameters<ObjectStore["putBlob"]>): ReturnType<ObjectStore["putBlob"]> {
    return this.#store.putBlob(...args);
  }

  putIf(...args: Parameters<ObjectStore["putIf"]>): ReturnType<ObjectStore["putIf"]> {
    return this.#store.putIf(...args);
  }

  put(...args: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
    return this.#store.put(...args);
  }

  putStaged(...args: Parameters<ObjectStore["putStaged"]>): ReturnType<ObjectStore["putStaged"]> {
    return this.#store.putStaged(...args);
  }

  promote(...args: Parameters<ObjectStore["promote"]>): ReturnType<ObjectStore["promote"]> {
    return this.#store.promote(...args);
  }

  list(...args: Parameters<ObjectStore["list"]>): ReturnType<ObjectStore["list"]> {
    return this.#store.list(...args);
  }

  delete(...args: Parameters<ObjectStore["delete"]>): ReturnType<ObjectStore["delete"]> {
    return this.#store.delete(...args);
  }
}
