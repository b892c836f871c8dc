import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { extract } from "tar-stream";
import { describe, expect, it } from "vitest";
import { StowageError } from "../../src/errors.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { chunksOf, randomBytes, readAll } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { visibleState } from "../support/visible-state.ts";

/** Each takes some 3 ms. */
const mutations = 1500;
const blockBytes = 512;

type Random = (below: number) => number;

/** The same numbers for the same seed (mulberry32). */
function randomOf(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Most header fields are text: digits, zeros, spaces and slashes hit where other bytes only spoil the checksum. */
const likely = Buffer.from("07 \0/.xgLKS125\x80\xff");

const changes: readonly ((bytes: Buffer, random: Random) => Buffer)[] = [
  (bytes, random) => bytes.subarray(0, random(bytes.length)),
  (bytes, random) => change(bytes, random(bytes.length), 1 << random(8)),
  (bytes, random) => withSum(change(bytes, fieldIn(bytes, random), 1 << random(8))),
  (bytes, random) => withSum(put(bytes, fieldIn(bytes, random), likely[random(likely.length)] ?? 0)),
  (bytes, random) => splice(bytes, random, { skip: 1, repeat: 0 }),
  (bytes, random) => splice(bytes, random, { skip: 0, repeat: 1 }),
  (bytes, random) => splice(bytes, random, { skip: 0, repeat: 3 }),
  (bytes, random) => Buffer.concat([bytes, bytes.subarray(random(bytes.length))]),
  (bytes, random) => Buffer.concat([bytes, Buffer.alloc(random(2000)), Buffer.from([random(256)])]),
];

function put(bytes: Buffer, at: number, byte: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at] = byte;
  return changed;
}

function change(bytes: Buffer, at: number, bits: number): Buffer {
  return put(bytes, at, (bytes[at] ?? 0) ^ bits);
}

/** Some place in a header. */
function fieldIn(bytes: Buffer, random: Random): number {
  const headers = headersOf(bytes);
  return (headers[random(headers.length)] ?? 0) + random(blockBytes);
}

function headersOf(bytes: Buffer): number[] {
  const blocks = Array.from({ length: Math.floor(bytes.length / blockBytes) }, (_, i) => i * blockBytes);
  return blocks.filter((at) => bytes.subarray(at + 257, at + 262).toString() === "ustar");
}

/** With the right checksum in every header, so that what has changed in one counts. */
function withSum(bytes: Buffer): Buffer {
  for (const at of headersOf(bytes)) {
    const header = bytes.subarray(at, at + blockBytes).fill(" ", 148, 156);
    header.write(
      `${header
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, "0")}\0 `,
      148,
    );
  }
  return bytes;
}

/** With some blocks left out, or some that come again. */
function splice(bytes: Buffer, random: Random, { skip, repeat }: { skip: number; repeat: number }): Buffer {
  const at = random(bytes.length / blockBytes) * blockBytes;
  const from = random(bytes.length / blockBytes) * blockBytes;
  const again = bytes.subarray(from, from + repeat * blockBytes);
  return Buffer.concat([bytes.subarray(0, at), again, bytes.subarray(at + skip * blockBytes)]);
}

/** A header without a magic is V7's. */
const readerOptions = { allowUnknownFormat: true, highWaterMark: 16_384 };

/** The digests that an archive's `index.json` names, as another reader of tars reads it. */
async function digestsIn(tar: Uint8Array): Promise<string[]> {
  for await (const entry of Readable.from(chunksOf(tar, 4096)).pipe(extract(readerOptions))) {
    const bytes = await readAll(Readable.from(entry));
    if (entry.header.name.replace(/^(?:\.?\/)+/, "") !== "index.json") continue;
    const { manifests } = JSON.parse(bytes.toString()) as { manifests: { digest: string }[] };
    return manifests.map(({ digest }) => digest);
  }
  return [];
}

describe("loadArchive, of archives in which anything has changed", () => {
  it(
    "either answers what another reader finds, or leaves the visible state as it was",
    { timeout: 120_000 },
    async () => {
      const store = new MemoryStore({ partBytes: 1000 });
      const layers = [randomBytes(100), randomBytes(3000)];
      const old = await tarOf(makeLayout({ layers, name: "app:1", label: "old" }));
      await loadArchive(chunksOf(old, 500), { store });
      const images = [
        makeLayout({ layers, name: "app:1" }),
        makeLayout({ layers, platforms: ["linux/arm64"], refName: "x" }),
      ];
      const tars = await Promise.all(images.map(async (image) => tarOf(image, { prefix: "./", directories: true })));
      const outcomes = { loaded: 0, refused: 0 };
      for (let seed = 0; seed < mutations; seed++) {
        const random = randomOf(seed);
        const original = tars[random(tars.length)] ?? old;
        const tar = changes[random(changes.length)]?.(original, random) ?? original;
        const body = random(4) === 0 ? gzipSync(tar) : tar;
        const before = await visibleState(store);
        try {
          const receipt = await loadArchive(chunksOf(body, 1 + random(4000)), { store });
          const found = receipt.images.map(({ digest }) => digest);
          expect(found, `seed ${seed}`).toEqual(await digestsIn(tar));
          outcomes.loaded++;
        } catch (error) {
          if (!(error instanceof StowageError)) throw new Error(`seed ${seed}: not an error of ours`, { cause: error });
          expect(
            ["STORE_UNAVAILABLE", "STORE_DAMAGED", "COMMIT_CONFLICT", "INTERRUPTED"],
            `seed ${seed}`,
          ).not.toContain(error.code);
          expect(await visibleState(store), `seed ${seed}`).toEqual(before);
          outcomes.refused++;
        }
      }
      expect(outcomes.loaded).toBeGreaterThan(mutations / 20);
      expect(outcomes.refused).toBeGreaterThan(mutations / 3);
    },
  );
});
