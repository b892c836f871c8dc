/**
 * Guards a store: nothing is written before the store has passed the probe. A store that ignores conditional writes would lose
 * images without an error. Reads do not wait for the probe.
 */
import { type CopyFrom, ForwardingStore } from "../storage/forwarding-store.ts";
import type { CallOptions, ObjectStore } from "../storage/object-store.ts";
import { orAbort } from "../streams/abortable.ts";
import { inTime } from "../streams/in-time.ts";
import { probeStore } from "./probe-store.ts";

/** A probe makes some 130 small requests, six at a time. */
const maxProbeMs = 60_000;

/** The first write probes the store. If the probe fails, the next write probes again. */
export class GuardedStore extends ForwardingStore {
  readonly #unguarded: ObjectStore;
  #probe: Promise<void> | undefined;
  #hasPassed = false;

  constructor(store: ObjectStore) {
    super(store);
    this.#unguarded = store;
  }

  override async put(...args: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
    await this.#passed(args[2]);
    return super.put(...args);
  }

  override async write(...args: Parameters<ObjectStore["write"]>): ReturnType<ObjectStore["write"]> {
    await this.#passed(args[2]);
    return super.write(...args);
  }

  override async copy(...args: Parameters<ObjectStore["copy"]>): ReturnType<ObjectStore["copy"]> {
    await this.#passed(args[2]);
    return super.copy(...args);
  }

  override async copyFrom(...args: Parameters<CopyFrom>): ReturnType<CopyFrom> {
    await this.#passed(args[3]);
    return super.copyFrom(...args);
  }

  override async delete(...args: Parameters<ObjectStore["delete"]>): ReturnType<ObjectStore["delete"]> {
    await this.#passed(args[1]);
    return super.delete(...args);
  }

  /**
   * Waits for the probe. All callers share one probe, and a caller's signal ends only its own wait. The wait has a
   * limit, because on Workers the request that began the probe may be stopped, and the probe with it.
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
