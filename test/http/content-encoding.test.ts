import { execFileSync } from "node:child_process";
import { gzipSync } from "node:zlib";
import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { rawEntry } from "../support/raw-tar.ts";
import { describeIfFound } from "../support/requirement.ts";
import { visibleState } from "../support/visible-state.ts";
import { missingTools } from "../tools/find-tool.ts";
import { openLayout } from "../support/open-layout.ts";

const layout = makeLayout({ layers: [randomBytes(1000)], name: "team/app:1.4" });
const tar = await tarOf(layout);

let store: MemoryStore;
let app: Hono;
beforeEach(() => {
  store = new MemoryStore({ partBytes: 400 });
  app = createApp({ layout: openLayout(store), access: "anyone" });
});

async function put(body: Uint8Array, encoding: string): Promise<Response> {
  return app.request("/v1/load", { method: "PUT", body: Buffer.from(body), headers: { "Content-Encoding": encoding } });
}

async function expectLoaded(body: Uint8Array, encoding: string): Promise<void> {
  const response = await put(body, encoding);
  expect(response.status).toBe(201);
  expect(await response.json()).toMatchObject({ images: [{ digest: layout.digest }] });
}

async function expectRefused(body: Uint8Array, encoding: string, status: number, code: string): Promise<Response> {
  const response = await put(body, encoding);
  expect(response.status).toBe(status);
  expect(await response.clone().json()).toMatchObject({ errors: [{ code }] });
  const keys = [...(await visibleState(store)).keys()];
  expect(keys.filter((key) => key !== "oci-layout")).toEqual([]); // which says that the store has been tried
  return response;
}

describe("PUT /v1/load with a Content-Encoding", () => {
  it.each<[string, Uint8Array, string]>([
    ["gzip", gzipSync(tar), "gzip"],
    ["gzip by its old name", gzipSync(tar), "x-gzip"],
    ["gzip in capitals", gzipSync(tar), " GZIP "],
    ["a tarball that is compressed by itself", gzipSync(gzipSync(tar)), "gzip"],
    ["identity", tar, "identity"],
    ["identity and a compressed tarball", gzipSync(tar), "identity"],
  ])("takes %s", async (_, body, encoding) => expectLoaded(body, encoding));

  it("refuses a body that is not encoded as it says, is cut short, or goes on", async () => {
    await expectRefused(tar, "gzip", 400, "ARCHIVE_INVALID");
    await expectRefused(tar, "zstd", 400, "ARCHIVE_INVALID");
    await expectRefused(gzipSync(tar).subarray(0, -20), "gzip", 400, "ARCHIVE_INVALID");
    await expectRefused(Buffer.concat([gzipSync(tar), Buffer.from("more")]), "gzip", 400, "ARCHIVE_INVALID");
    await expectRefused(gzipSync(gzipSync(gzipSync(tar))), "gzip", 400, "ARCHIVE_INVALID");
    await expectRefused(Buffer.alloc(0), "gzip", 400, "ARCHIVE_INVALID");
  });

  it("refuses one that expands too much", async () => {
    const bomb = gzipSync(Buffer.alloc(66 * 1024 * 1024), { level: 1 });
    await expectRefused(bomb, "gzip", 413, "LIMIT_EXCEEDED");
  });

  it("refuses one that expands too much in two steps, of which neither does", async () => {
    const piece = Buffer.concat([randomBytes(25_000), Buffer.alloc(2_000_000)]);
    const pieces = 34;
    const header = rawEntry({ name: "pieces", size: pieces * piece.length });
    const members = [gzipSync(header), ...Array.from({ length: pieces }, () => gzipSync(piece))];
    const bomb = gzipSync(Buffer.concat(members));
    const response = await expectRefused(bomb, "gzip", 413, "LIMIT_EXCEEDED");
    expect(await response.text()).toMatch(/for each byte, at most 100 are allowed \(maxExpansionRatio\)/);
  });

  it("says that a body does not begin as it should", async () => {
    const response = await expectRefused(gzipSync(tar), "zstd", 400, "ARCHIVE_INVALID");
    expect(await response.text()).toContain("Cannot decompress the zstd body: it does not begin with a frame");
  });

  it.each(["br", "deflate", "compress", "gzip, gzip", "gzip;q=1"])(
    "refuses %s with 415 and says what it takes",
    async (encoding) => {
      const response = await expectRefused(tar, encoding, 415, "UNSUPPORTED");
      expect(response.headers.get("Accept-Encoding")).toBe("gzip, zstd");
      expect(await response.text()).toContain(`Content-Encoding \\"${encoding}\\": expected gzip, zstd or none`);
    },
  );
});

describeIfFound("PUT /v1/load with zstd as its Content-Encoding", missingTools(["zstd"]), () => {
  it("takes it", async () => {
    const zstd = (input: Uint8Array): Buffer => execFileSync("zstd", ["-q", "-c"], { input });
    await expectRefused(zstd(zstd(tar)), "zstd", 400, "UNSUPPORTED"); // one window a load
    await expectLoaded(zstd(tar), "zstd");
  });
});
