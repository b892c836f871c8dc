/**
 * The service's memory with loads at once of indexes that are as large as may be: parsed they take many times their bytes.
 */
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { sha256 } from "../support/bytes.ts";
import { type Layout, type TestDescriptor, filesOf, makeLayout, types, withBlob } from "../support/layout.ts";
import { rawTar } from "../support/raw-tar.ts";
import { type ServingCommand, newFolder, serveStowage } from "../support/run-stowage.ts";

const mebibyte = 1024 * 1024;
const loads = 12;
/**
 * For the program, the bodies of the loads (4 MiB each) and the indexes of one. Parsed for all at once they took twice
 * that.
 */
const maxBytes = 560 * mebibyte;

const image = makeLayout();
const [root] = image.roots;
const manifest: TestDescriptor = { ...root, mediaType: types.manifest, digest: image.digest, size: root?.size ?? 0 };

/** An index of almost 4 MiB that names `first`, and the image in as many ways as it can. */
function largeIndex(first: TestDescriptor): Buffer {
  const entries = [JSON.stringify(first)];
  for (let i = 0, bytes = 0; bytes < 4 * mebibyte - 1000; i++) {
    const entry = JSON.stringify({ ...manifest, annotations: { [`key ${first.size} ${i}`]: `${i}` } });
    bytes += entry.length + 1;
    entries.push(entry);
  }
  return Buffer.from(`{"schemaVersion":2,"mediaType":"${types.index}","manifests":[${entries.join()}]}`);
}

function nested(levels: number): Layout {
  let layout: Layout = image;
  let inner = manifest;
  for (let level = 0; level < levels; level++) {
    const bytes = largeIndex(inner);
    layout = withBlob(layout, bytes);
    inner = { mediaType: types.index, digest: sha256(bytes), size: bytes.length };
  }
  return { ...layout, roots: [inner] };
}

/** The most that it ever had. */
function peakBytes({ pid }: ServingCommand): number {
  const [, kibibytes = ""] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kibibytes) * 1024;
}

describe("the service, with large indexes in many loads at once", () => {
  let service: ServingCommand | undefined;
  afterAll(() => service?.kill("SIGTERM"));

  it("takes them within a constant, and refuses more of them inside one another", { timeout: 120_000 }, async () => {
    service = await serveStowage(["--store", `file:${await newFolder()}`], {});
    const { url } = service;
    const send = async (layout: Layout, i: number): Promise<number> =>
      (await fetch(`${url}/v1/load/app-${i}:1`, { method: "PUT", body: rawTar(filesOf(layout)) })).status;
    const four = nested(4);
    const statuses = await Promise.all(Array.from({ length: loads }, async (_, i) => send(four, i)));
    expect(new Set(statuses)).toEqual(new Set([201]));
    expect(await send(nested(5), loads)).toBe(413);
    expect(peakBytes(service)).toBeLessThan(maxBytes);
  });
});
