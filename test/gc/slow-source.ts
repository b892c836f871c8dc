/** A store to copy from that takes its time for each blob. */
import { LayoutSource } from "../../src/layout/layout-source.ts";
import type { Layout } from "../../src/layout/layout.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";

export class SlowSource extends LayoutSource {
  readonly store: ObjectStore;
  readonly #pause: () => Promise<void>;

  constructor(layout: Layout, pause: () => Promise<void>) {
    super(layout);
    this.store = layout.store;
    this.#pause = pause;
  }

  override async readBlob(...args: Parameters<LayoutSource["readBlob"]>): ReturnType<LayoutSource["readBlob"]> {
    await this.#pause();
    return super.readBlob(...args);
  }
}
