/**
 * Guards a store: nothing is written before the store has passed the probe. A store that ignores conditional writes
 * would lose images without an error. Reads do not wait for the probe.
 */
import { type CopyFrom, ForwardingStore } from "../storage/forwarding-store.ts";
import type { CallOptions, ObjectStore } from "../storage/object-store.ts";
import { SharedWork } from "../streams/batches.ts";
import { probeStore } from "./probe-store.ts";

/**
 * A write waits at most this long for the probe of another write. A probe takes less time: it makes some 130 small
 * requests, six at a time.
 */
const maxProbeMs = 60_000;

/** The first write probes the store. If the probe fails, the next write probes again. */
export class GuardedStore extends ForwardingStore {
  readonly #unguarded: ObjectStore;
  readonly #probes = new SharedWork<void>(maxProbeMs);
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

  /** All callers share one probe. A caller's signal ends only its own wait. */
  async #passed({ signal }: CallOptions = {}): Promise<void> {
    if (!this.#hasPassed) await this.#probes.resultOf("probe", async () => this.#probe(), signal);
  }

  async #probe(): Promise<void> {
    if (!this.#hasPassed) await probeStore(this.#unguarded);
    this.#hasPassed = true;
  }
}
