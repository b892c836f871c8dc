/**
 * A store that nothing is written to before it has passed the probe: one that ignores conditional writes would lose
 * images in silence. Reads pass at once.
 */
import { ForwardingStore } from "./forwarding-store.ts";
import type { ObjectStore } from "./object-store.ts";
import { probeStore } from "./probe-store.ts";

/** Wraps a store. The first write probes it, once for the process; a probe that failed is tried again by the next. */
export function guardStore(store: ObjectStore): ObjectStore {
  return store instanceof GuardedStore ? store : new GuardedStore(store);
}

class GuardedStore extends ForwardingStore {
  readonly #unguarded: ObjectStore;
  #probe: Promise<void> | undefined;

  constructor(store: ObjectStore) {
    super(store);
    this.#unguarded = store;
  }

  override async putBlob(...args: Parameters<ObjectStore["putBlob"]>): ReturnType<ObjectStore["putBlob"]> {
    await this.#passed();
    return super.putBlob(...args);
  }

  override async putIf(...args: Parameters<ObjectStore["putIf"]>): ReturnType<ObjectStore["putIf"]> {
    await this.#passed();
    return super.putIf(...args);
  }

  override async delete(...args: Parameters<ObjectStore["delete"]>): ReturnType<ObjectStore["delete"]> {
    await this.#passed();
    return super.delete(...args);
  }

  async #passed(): Promise<void> {
    this.#probe ??= probeStore(this.#unguarded);
    try {
      await this.#probe;
    } catch (error) {
      this.#probe = undefined;
      throw error;
    }
  }
}
