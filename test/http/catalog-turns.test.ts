import { describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { ForwardingStore } from "../../src/storage/forwarding-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ListedObject, ObjectStore } from "../../src/storage/object-store.ts";
import { openLayout } from "../support/open-layout.ts";
import { makeLayout, tarOf } from "../support/layout.ts";

/** Knows how many lists are under way at once. */
class WatchedLists extends ForwardingStore {
  #lists = 0;
  mostLists = 0;

  override async *list(...args: Parameters<ObjectStore["list"]>): AsyncGenerator<ListedObject> {
    this.mostLists = Math.max(this.mostLists, ++this.#lists);
    try {
      await new Promise((resolve) => setTimeout(resolve, 10));
      yield* super.list(...args);
    } finally {
      this.#lists--;
    }
  }
}

describe("a crowd that asks for the catalog", () => {
  it("is answered a few at a time, to the last one", async () => {
    const store = new WatchedLists(new MemoryStore());
    const app = createApp({ layout: openLayout(store), access: "anyone" });
    const body = await tarOf(makeLayout({ name: "team/app:1" }));
    expect((await app.request("/v1/load", { method: "PUT", body })).status).toBe(201);
    store.mostLists = 0;
    const answers = await Promise.all(Array.from({ length: 200 }, async () => app.request("/v2/_catalog?n=5")));
    const texts = await Promise.all(answers.map(async (answer) => answer.text()));
    expect(new Set(texts)).toEqual(new Set(['{"repositories":["team/app"]}']));
    expect(store.mostLists).toBeLessThanOrEqual(4);
  });
});
