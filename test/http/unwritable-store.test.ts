import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { openLayout } from "../support/open-layout.ts";
import { makeLayout, tarOf } from "../support/layout.ts";

describe("a directory that the service may not write to", () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "stowage-unwritable-"));
  });
  afterEach(() => rm(root, { recursive: true }));

  it.each([1, 3])("is named at once by a deletion, after %i loads, and nothing is left in doubt", async (loads) => {
    const app = createApp({ layout: openLayout(new DirectoryStore(root)), access: "anyone" });
    for (let i = 0; i < loads; i++) {
      const body = await tarOf(makeLayout({ label: String(i) }));
      expect((await app.request(`/v1/load/team/app:${i}`, { method: "PUT", body })).status).toBe(201);
    }
    // Files in the place of folders: permissions do not stop root. Later loads have made versions, which stay.
    const folder = join(root, ".stowage", loads === 1 ? "versions" : "tmp");
    await rm(folder, { recursive: true, force: true });
    await writeFile(folder, "");
    const response = await app.request("/v2/team/app/manifests/0", { method: "DELETE" });
    expect(response.status).toBe(503);
    const { errors } = (await response.json()) as { errors: [{ code: string; message: string }] };
    expect(errors[0].code).toBe("STORE_UNAVAILABLE");
    expect(errors[0].message).toMatch(/^Cannot write "[^"]*" in file:[^:]*: ENOTDIR/);
  });
});
