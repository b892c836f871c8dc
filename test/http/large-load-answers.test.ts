import { describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { openLayout } from "../support/open-layout.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { joinLayouts, makeLayout, tarOf } from "../support/layout.ts";

/** The answer to a load of as many names is counted with some 320 KiB. */
const names = Array.from({ length: 400 }, (_, i) => `team/app:tag-${i}`);
/** Eight of them are the memory for large answers: room for three. */
const maxManifestBytes = 128 * 1024;

describe("clients that do not read the answer to their load", () => {
  it("hold no memory beyond a cap: they are cut off while others wait", { timeout: 30_000 }, async () => {
    const app = createApp({ layout: openLayout(new MemoryStore(), { maxManifestBytes }), access: "anyone" });
    const body = await tarOf(joinLayouts(...names.map((name) => makeLayout({ name }))));
    const load = async (): Promise<Response> => app.request("/v1/load", { method: "PUT", body });
    const slow = [await load(), await load(), await load()];
    expect(slow.map(({ status }) => status)).toEqual([201, 200, 200]);
    const late = await load();
    expect(await late.json()).toMatchObject({ totals: { images: names.length } });
    const ends = await Promise.allSettled(slow.map(async (response) => response.text()));
    const cut = ends.filter((end) => end.status === "rejected");
    expect(cut[0]?.reason).toMatchObject({ code: "TIMED_OUT" });
  });
});
