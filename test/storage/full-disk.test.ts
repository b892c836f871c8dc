/** What a directory store does on a disk that is full: a small one of its own, in memory, which takes root to mount. */
import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { appendFile, mkdir, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, expect, it } from "vitest";
import { collectGarbage } from "../../src/gc/collect-garbage.ts";
import { createApp } from "../../src/http/app.ts";
import { deleteImage } from "../../src/registry/delete-image.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { verifyStore } from "../../src/verify/verify-store.ts";
import { clockAfter } from "../gc/clock-after.ts";
import { chunksOf, randomBytes, sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { keysOf, loadBytes } from "../support/loading.ts";
import { describeIfFound } from "../support/requirement.ts";
import { openLayout } from "../support/open-layout.ts";

const disk = mkdtempSync(join(tmpdir(), "stowage-full-"));
const missing = mountDisk();

function mountDisk(): readonly string[] {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], { stdio: "pipe" });
    return [];
  } catch (error) {
    return [`a small file system cannot be mounted: ${String(error).split("\n")[0]}`];
  }
}

afterAll(async () => {
  if (missing.length === 0) execFileSync("umount", [disk]);
  await rm(disk, { recursive: true });
});

describeIfFound("a full disk", missing, () => {
  let store: DirectoryStore;
  beforeEach(async () => {
    for (const name of await readdir(disk)) await rm(join(disk, name), { recursive: true });
    await mkdir(join(disk, "data"));
    store = new DirectoryStore(join(disk, "data"));
    await load("team/app:1", 100_000);
    await load("team/app:2", 90_000);
  });

  async function load(name: string, layerBytes: number): Promise<void> {
    const tarball = await tarOf(makeLayout({ layers: [randomBytes(layerBytes)], label: name }));
    await loadBytes(chunksOf(tarball, 65_536), store, { name });
  }

  /** Leaves not a byte. */
  async function fill(): Promise<void> {
    const write = async (bytes: number): Promise<void> => {
      for (;;) await appendFile(join(disk, "other"), randomBytes(bytes));
    };
    for (const bytes of [65_536, 4096, 1]) await expect(write(bytes)).rejects.toMatchObject({ code: "ENOSPC" });
  }

  it("is named by a load: 507, and nothing is left of it", async () => {
    await fill();
    const before = await keysOf(store);
    const app = createApp({ layout: openLayout(store), access: "anyone" });
    const body = await tarOf(makeLayout({ layers: [randomBytes(50_000)] }));
    const response = await app.request("/v1/load/team/app:3", { method: "PUT", body });
    expect(response.status).toBe(507);
    expect(await response.json()).toMatchObject({
      errors: [{ code: "STORE_FULL", message: expect.stringMatching(/^Cannot write .*: the disk is full/) as unknown }],
    });
    expect(await keysOf(store)).toEqual(before);
    expect(await readdir(join(disk, "data/.stowage/tmp"))).toEqual([]);
  });

  it.each(["load", "push"])(
    "in the middle of a large layer is named by a %s, gives the room back, and harms nothing",
    async (how) => {
      const app = createApp({ layout: openLayout(store), access: "anyone" });
      const layer = randomBytes(7_000_000);
      const send = async (bytes: Buffer): Promise<Response> => {
        if (how === "load") {
          const body = await tarOf(makeLayout({ layers: [bytes] }));
          return app.request("/v1/load/team/app:3", { method: "PUT", body });
        }
        const begun = await app.request("/v2/team/app/blobs/uploads/", { method: "POST" });
        const session = begun.headers.get("Location") ?? "";
        const sent = await app.request(session, { method: "PATCH", body: Buffer.from(bytes) });
        return sent.ok ? app.request(`${session}?digest=${sha256(bytes)}`, { method: "PUT" }) : sent;
      };
      // Small blobs that were complete may stay.
      const others = async (): Promise<string[]> => (await keysOf(store)).filter((key) => !key.startsWith("blobs/"));
      const before = await others();
      const response = await send(layer);
      expect(response.status).toBe(507);
      expect(await response.json()).toMatchObject({ errors: [{ code: "STORE_FULL" }] });
      expect(await others()).toEqual(before);
      expect(await readdir(join(disk, "data/.stowage/tmp"))).toEqual([]);
      expect((await send(layer.subarray(0, 1_000_000))).status, "a smaller one").toBe(201);
      expect((await verifyStore(openLayout(store))).problems).toEqual([]);
    },
  );

  it("is freed by removing images, and by gc", async () => {
    await fill();
    await deleteImage(openLayout(store), { repository: "team/app", reference: "1" });
    const first = await collectGarbage(openLayout(store));
    expect(first.condemned.blobs).toBe(3);
    await fill();
    await deleteImage(openLayout(store), { repository: "team/app", reference: "2" });
    const second = await collectGarbage(openLayout(store, undefined, clockAfter(25 * 60 * 60 * 1000)));
    expect(second.freed.blobs).toBe(3);
    expect(second.condemned.blobs, "there is room for marks once blobs are deleted").toBe(3);
    await collectGarbage(openLayout(store, undefined, clockAfter(50 * 60 * 60 * 1000)));
    expect(await keysOf(store, "blobs/")).toEqual([]);
    await load("team/app:3", 50_000);
  });

  it("keeps the room by which it is freed from loads", async () => {
    for (let i = 0; i < 4; i++) {
      await Promise.allSettled(Array.from({ length: 8 }, async (_, j) => load(`team/app:${i}-${j}`, 40_000 * (j + 1))));
      await Promise.allSettled(Array.from({ length: 8 }, async (_, j) => load(`team/app:${i}-${j}`, 1000)));
    }
    await fill();
    await deleteImage(openLayout(store), { repository: "team/app", reference: "1" });
  });
});
