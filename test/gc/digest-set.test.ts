import { describe, expect, it } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { DigestSet } from "../../src/gc/digest-set.ts";
import { sha256 } from "../support/bytes.ts";

const digests = Array.from({ length: 20_000 }, (_, i) => sha256(Buffer.from(String(i))));
const alike = (end: string): Digest => `sha256:${"0".repeat(12)}${end.padStart(52, "0")}`;

describe("DigestSet", () => {
  it("has what was added, and nothing else", () => {
    const set = new DigestSet();
    for (const digest of [...digests.slice(0, 10_000), ...digests.slice(0, 10)]) set.add(digest);
    expect(digests.findIndex((digest) => !set.has(digest))).toBe(10_000);
    expect(digests.slice(10_000).filter((digest) => set.has(digest))).toEqual([]);
  });

  it.each([0, 1, 10_000])("is the same after it was %d digests in bytes", (count) => {
    const set = new DigestSet();
    for (const digest of digests.slice(0, count)) set.add(digest);
    const bytes = set.toBytes();
    expect(bytes).toHaveLength(6 * count);
    const read = DigestSet.fromBytes(bytes);
    expect(digests.filter((digest) => read.has(digest))).toEqual(digests.slice(0, count));
    for (const digest of digests) read.add(digest);
    expect(digests.filter((digest) => !read.has(digest))).toEqual([]);
    expect(read.toBytes()).toHaveLength(6 * digests.length);
  });

  it("takes digests that begin alike for the same", () => {
    const set = new DigestSet();
    expect(set.has(alike("1"))).toBe(false);
    set.add(alike("1"));
    expect(set.has(alike("2"))).toBe(true);
  });
});
