/** Archives in which something has changed: in what their JSON says, in their entries, or in their bytes. */
import { Buffer } from "node:buffer";
import * as fc from "fast-check";
import { digestLike } from "../support/bytes.ts";
import { type Layout, filesOf } from "../support/layout.ts";
import { type ByteMutation, byteMutationKinds, mutateBytes } from "../support/mutate-bytes.ts";
import { type RawEntry, rawTar } from "../support/raw-tar.ts";
import { arbitraryEntries, arbitraryLayout, arbitraryPacking, printedBriefly } from "./arbitrary-archive.ts";
import { arbitraryDockerEntries } from "./arbitrary-docker-archive.ts";

const place = fc.nat(1_000_000);

/** What people and programs put where something else belongs. */
const oddValues: readonly unknown[] = [
  null,
  "",
  0,
  1,
  -1,
  1.5,
  2 ** 53,
  1e300,
  true,
  [],
  {},
  [[]],
  "sha256:",
  `sha256:${"A".repeat(64)}`,
  `sha256:${"0".repeat(64)}`,
  `sha512:${"0".repeat(128)}`,
  `sha384:${"0".repeat(96)}`,
  `sha256:${"../".repeat(21)}a`,
  "../../index.json",
  "_layout/x:1",
  "UPPER:1",
  "a:b:c",
  "app:1",
  "é\u0000\ud800",
  "x".repeat(300),
  "application/vnd.oci.image.layer.nondistributable.v1.tar",
  "application/vnd.oci.image.index.v1+json",
];

const jsonMutation = fc.record({
  /** Whether a root's manifest is changed, and the archive's index with it, or that alone. */
  inRoot: fc.boolean(),
  root: place,
  at: place,
  value: fc.oneof(fc.constantFrom(...oddValues), fc.constant(undefined), fc.jsonValue({ maxDepth: 2 })),
});

interface JsonMutation {
  readonly inRoot: boolean;
  readonly root: number;
  readonly at: number;
  readonly value: unknown;
}

/** The layout with one value of its JSON replaced; the digests above it are right again. */
function mutateJson(layout: Layout, { inRoot, root, at, value }: JsonMutation): Layout {
  if (!inRoot) return { ...layout, roots: replaceOne(layout.roots, at, value) as Layout["roots"] };
  const target = layout.roots[root % layout.roots.length];
  const before = layout.blobs.get(target?.digest ?? "sha256:");
  if (target === undefined || before === undefined) return layout;
  const bytes = Buffer.from(JSON.stringify(replaceOne(JSON.parse(before.toString()), at, value)) ?? "");
  const changed = { ...target, digest: digestLike(target.digest, bytes), size: bytes.length };
  return {
    ...layout,
    roots: layout.roots.map((one) => (one === target ? changed : one)),
    blobs: new Map([...layout.blobs, [changed.digest, bytes]]),
  };
}

/** The JSON with the value at some place in it replaced, or left out if it is undefined. */
function replaceOne(json: unknown, at: number, value: unknown): unknown {
  const places = placesIn(json);
  const path = places[at % places.length] ?? [];
  return replaceAt(json, path, value);
}

type Path = readonly string[];

function placesIn(json: unknown): Path[] {
  if (typeof json !== "object" || json === null) return [[]];
  return [[], ...Object.entries(json).flatMap(([key, value]) => placesIn(value).map((path) => [key, ...path]))];
}

function replaceAt(json: unknown, [key, ...path]: Path, value: unknown): unknown {
  if (key === undefined || typeof json !== "object" || json === null) return value;
  const entries = Object.entries(json).map(([name, old]): [string, unknown] => [
    name,
    name === key ? replaceAt(old, path, value) : old,
  ]);
  return Array.isArray(json) ? entries.map(([, one]) => one) : Object.fromEntries(entries);
}

const entryChanges: readonly ((entries: readonly RawEntry[], at: number, by: number) => readonly RawEntry[])[] = [
  (entries, at) => entries.filter((_, i) => i !== at),
  (entries, at, by) => entries.filter((_, i) => i !== at && i !== by),
  (entries, at, by) => [...entries.slice(0, by), ...entries.slice(at, at + 1), ...entries.slice(by)],
  (entries, at, by) =>
    entries.map((entry, i) => (i === at ? (entries[by] ?? entry) : i === by ? (entries[at] ?? entry) : entry)),
  (entries, at, by) => changeOne(entries, at, { type: "0\0" + "1234567gxLKSMDV"[by % 15] }),
  (entries, at, by) =>
    changeOne(entries, at, { type: "1", linkTarget: entries[by]?.name ?? "", bytes: Buffer.alloc(0) }),
  (entries, at, by) =>
    changeOne(entries, at, { type: "2", linkTarget: `../../${entries[by]?.name}`, bytes: Buffer.alloc(0) }),
  (entries, at, by) => changeOne(entries, at, { size: by * 100 }),
  (entries, at, by) => changeOne(entries, at, { size: (entries[at]?.bytes?.length ?? 0) + (by % 3) - 1 }),
  (entries, at, by) => changeOne(entries, at, { name: entries[by]?.name ?? "" }),
  (entries, at, by) => changeOne(entries, at, { bytes: entries[by]?.bytes ?? Buffer.alloc(by) }),
  (entries, at) => changeOne(entries, at, { name: `../${entries[at]?.name}` }),
  (entries, at) => changeOne(entries, at, { name: `${entries[at]?.name}/` }),
];

function changeOne(entries: readonly RawEntry[], at: number, change: RawEntry): RawEntry[] {
  return entries.map((entry, i) => (i === at ? { ...entry, ...change } : entry));
}

const entryMutation = fc.record({ change: fc.constantFrom(...entryChanges), at: place, by: place });

/** Places, and what is to be done there; `mutateBytes` does it. */
const byteMutations = (maxLength: number): fc.Arbitrary<readonly ByteMutation[]> =>
  fc.array(fc.record({ kind: fc.constantFrom(...byteMutationKinds), at: place, by: place }), { maxLength });

/** How many changes there are at most in what the JSON says, in the entries, in the tar's bytes, and in the body's. */
interface Levels {
  readonly json: number;
  readonly entries: number;
  readonly tar: number;
  readonly body: number;
}

const mutatedAt = ({ json, entries, tar, body }: Levels): fc.Arbitrary<Buffer> => {
  const layout = fc
    .tuple(arbitraryLayout, fc.array(jsonMutation, { maxLength: json }))
    .map(([whole, mutations]) => filesOf(mutations.reduce<Layout>(mutateJson, whole)));
  const own = fc.oneof(
    { weight: 5, arbitrary: arbitraryEntries(layout) },
    { weight: 1, arbitrary: arbitraryDockerEntries },
  );
  return fc
    .tuple(
      own,
      fc.array(entryMutation, { maxLength: entries }),
      byteMutations(tar),
      arbitraryPacking,
      byteMutations(body),
    )
    .map(([before, entryMutations, tarMutations, pack, bodyMutations]) => {
      const changed = entryMutations.reduce(
        (all, { change, at, by }) => change(all, at % all.length, by % all.length),
        before,
      );
      return printedBriefly(mutateBytes(pack(mutateBytes(rawTar(changed), tarMutations)), bodyMutations));
    });
};

/**
 * An archive in which some things have changed: of a layout, or one of Docker's. Mostly at one level, or what is wrong with
 * the bytes would hide what is wrong with the rest.
 */
export const arbitraryMutatedArchive: fc.Arbitrary<Buffer> = fc.oneof(
  mutatedAt({ json: 1, entries: 0, tar: 0, body: 0 }),
  mutatedAt({ json: 0, entries: 2, tar: 0, body: 0 }),
  mutatedAt({ json: 0, entries: 0, tar: 2, body: 0 }),
  mutatedAt({ json: 0, entries: 0, tar: 0, body: 1 }),
  mutatedAt({ json: 1, entries: 1, tar: 1, body: 1 }),
);
