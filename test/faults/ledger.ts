/** What clients were told about each name of a store, so that a test can see whether the store keeps it. */
import { expect } from "vitest";
import type { ImageReceipt } from "../../src/load/receipt.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { verifyStore } from "../../src/verify/verify-store.ts";
import { checkPull, puller } from "../support/check-pull.ts";
import type { Layout } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

/** What a name stands for: an image, or nothing after a deletion. */
type Content = Layout | "gone";

export class Ledger {
  /** By name, such as `team/app:1`. */
  readonly #possible = new Map<string, Set<Content>>();

  /** A client was told that the name stands for this. */
  acknowledge(name: string, content: Content): void {
    this.#possible.set(name, new Set([content]));
  }

  /** A client asked for this, and does not know what came of it. */
  doubt(name: string, content: Content): void {
    this.possible(name).add(content);
  }

  /** What the name may stand for. */
  possible(name: string): Set<Content> {
    const known = this.#possible.get(name) ?? new Set(["gone"]);
    this.#possible.set(name, known);
    return known;
  }

  /** All images that are there, if no change is in doubt. */
  images(): Layout[] {
    return [...this.#possible.values()].flatMap((contents) => [...contents].filter((content) => content !== "gone"));
  }

  /** Nothing in the store is wrong, and each name stands for what clients were told. Pulls all manifests and blobs. */
  async check(store: ObjectStore, message: string): Promise<void> {
    const { problems } = await verifyStore(openLayout(store));
    expect(problems, `${message}: ${JSON.stringify(problems)}`).toEqual([]); // the report of a run cuts what it compares
    const pull = puller(store);
    for (const [name, contents] of this.#possible) {
      const [repository = "", tag = ""] = name.split(":");
      const images = [...contents].filter((content) => content !== "gone");
      const manifest = await pull(repository, `manifests/${tag}`);
      const image = images.find((it) => manifest?.equals(it.blobs.get(it.digest) ?? Buffer.of()));
      if (manifest === undefined) expect([...contents], `${message}: ${name} is lost`).toContain("gone");
      else expect(image?.digest, `${message}: ${name} is another image, or back: ${manifest.toString()}`).toBeDefined();
      if (image === undefined) continue;
      const receipt = { repository, reference: tag, digest: image.digest, size: manifest?.length ?? 0 };
      await checkPull(receipt as ImageReceipt, pull);
    }
  }
}
