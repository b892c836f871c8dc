/** The base of the decorators of a store. A decorator overrides only the calls that it changes. */
import type { CopySource, ObjectStore, Presigner, WriteResult } from "./object-store.ts";

/** `copyFrom` of a store that has it. */
export type CopyFrom = NonNullable<ObjectStore["copyFrom"]>;

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

  get copySource(): CopySource | undefined {
    return this.#store.copySource;
  }

  writeBufferBytes(size: number | undefined): number {
    return this.#store.writeBufferBytes(size);
  }

  copyBufferBytes(size: number): number {
    return this.#store.copyBufferBytes(size);
  }

  head(...args: Parameters<ObjectStore["head"]>): ReturnType<ObjectStore["head"]> {
    return this.#store.head(...args);
  }

  get(...args: Parameters<ObjectStore["get"]>): ReturnType<ObjectStore["get"]> {
    return this.#store.get(...args);
  }

  put(...args: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
    return this.#store.put(...args);
  }

  write(...args: Parameters<ObjectStore["write"]>): ReturnType<ObjectStore["write"]> {
    return this.#store.write(...args);
  }

  copy(...args: Parameters<ObjectStore["copy"]>): ReturnType<ObjectStore["copy"]> {
    return this.#store.copy(...args);
  }

  /** Returns `refused` if the store has no `copyFrom`. */
  async copyFrom(...args: Parameters<CopyFrom>): Promise<WriteResult | "refused"> {
    return (await this.#store.copyFrom?.(...args)) ?? "refused";
  }

  list(...args: Parameters<ObjectStore["list"]>): ReturnType<ObjectStore["list"]> {
    return this.#store.list(...args);
  }

  delete(...args: Parameters<ObjectStore["delete"]>): ReturnType<ObjectStore["delete"]> {
    return this.#store.delete(...args);
  }
}
