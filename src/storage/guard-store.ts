/**
 * A store that nothing is written to before it has passed the probe: one that ignores conditional writes would lose
 * images in silence. Reads pass at once.
 */
import { orAbort } from "../streams/abortable.ts";
import { inTime } from "../streams/in-time.ts";
import { ForwardingStore } from "./forwarding-store.ts";
import type { CallOptions, ObjectStore } from "./object-store.ts";
import { probeStore } from "./probe-store.ts";

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

/** Whoever hands in a bare store for each of many loads has it probed once. */
const guards = new WeakMap<ObjectStore, ObjectStore>();

class GuardedStore extends ForwardingStore {
  readonly #unguarded: ObjectStore;
  #probe: Promise<void> | undefined;
  #hasPassed = false;

  constructor(store: ObjectStore) {
    super(store);
    this.#unguarded = store;
  }

  override async putBlob(...args: Parameters<ObjectStore["putBlob"]>): ReturnType<ObjectStore["putBlob"]> {
    await this.#passed(args[1]);
    return super.putBlob(...args);
  }

  override async putIf(...args: Parameters<ObjectStore["putIf"]>): ReturnType<ObjectStore["putIf"]> {
    await this.#passed(args[3]);
    return super.putIf(...args);
  }

  override async put(...args: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
    await this.#passed(args[2]);
    return super.put(...args);
  }

  override async putStaged(...args: Parameters<ObjectStore["putStaged"]>): ReturnType<ObjectStore["putStaged"]> {
    await this.#passed(args[1]);
    return super.putStaged(...args);
  }

  override async promote(...args: Parameters<ObjectStore["promote"]>): ReturnType<ObjectStore["promote"]> {
    await this.#passed(args[2]);
    return super.promote(...args);
  }

  override async delete(...args: Parameters<ObjectStore["delete"]>): ReturnType<ObjectStore["delete"]> {
    await this.#passed(args[1]);
    return super.delete(...args);
  }

  /**
   * The probe is everybody's, so that nobody's signal ends it: it only ends the waiting. Nor does anybody wait for good: on
   * Workers whoever began it may be ended, and it with him.
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
