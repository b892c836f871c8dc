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

  it("takes digests that begin alike for the same", () => {
    const set = new DigestSet();
    expect(set.has(alike("1"))).toBe(false);
    set.add(alike("1"));
    expect(set.has(alike("2"))).toBe(true);
  });
});
