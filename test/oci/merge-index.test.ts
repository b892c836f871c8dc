import { describe, expect, it } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { maxRemoved, mergeIndex } from "../../src/layout/index/merge-index.ts";
import { findStale, seenOf } from "../../src/layout/index/find-stale.ts";
import {
  type RepositoryIndex,
  emptyIndex,
  parseRepositoryIndex,
  serializeRepositoryIndex,
} from "../../src/layout/index/repository-index.ts";
import type { Change, ChangeOutcome, ChangeSetOutcome, SetChange } from "../../src/oci/index-change.ts";
import { tagOf } from "../../src/oci/index-entry.ts";
import { sha256 } from "../support/bytes.ts";

const mediaType = "application/vnd.oci.image.manifest.v1+json";
const digestOf = (content: string): Digest => sha256(Buffer.from(content));
const set = (tag: string | undefined, content: string, more: Partial<SetChange> = {}): SetChange => ({
  op: "set",
  tag,
  mediaType,
  digest: digestOf(content),
  size: content.length,
  ...more,
});
const names = ({ entries }: RepositoryIndex): string[] => entries.map((entry) => tagOf(entry) ?? entry.digest);

interface Merged {
  readonly index: RepositoryIndex;
  readonly outcome: ChangeSetOutcome | undefined;
}

/** Merges one set of changes. */
function merge(index: RepositoryIndex, changes: readonly Change[], immutableTags?: readonly string[]): Merged {
  const merged = mergeIndex(index, [{ changes, immutableTags }], 0);
  return { index: merged.index, outcome: merged.outcomes[0] };
}

const made = (...changes: readonly ChangeOutcome[]): ChangeSetOutcome => ({ changes });
const base = merge(emptyIndex, [set("1", "a"), set("2", "a"), set(undefined, "b")]).index;

describe("mergeIndex", () => {
  it("creates tags and digests", () => {
    const { index, outcome } = merge(emptyIndex, [set("1", "a"), set(undefined, "b")]);
    expect(outcome).toEqual(made({ status: "created" }, { status: "created" }));
    expect(names(index)).toEqual(["1", digestOf("b")]);
  });

  it("moves a tag and tells from where", () => {
    const { index, outcome } = merge(base, [set("1", "c")]);
    expect(outcome).toEqual(made({ status: "updated", previous: digestOf("a") }));
    expect(names(index)).toEqual(["1", "2", digestOf("b")]);
  });

  it("gives back the same index where all is there", () => {
    const { index, outcome } = merge(base, [set("1", "a"), set(undefined, "b")]);
    expect(index).toBe(base);
    expect(outcome).toEqual(made({ status: "unchanged" }, { status: "unchanged" }));
  });

  it("keeps a digest by itself when a tag that had it moves on", () => {
    const before = merge(emptyIndex, [set("1", "a"), set(undefined, "a")]).index;
    expect(names(merge(before, [set("1", "b")]).index)).toEqual(["1", digestOf("a")]);
  });

  it("removes a tag alone", () => {
    const { index, outcome } = merge(base, [{ op: "remove", tag: "1" }]);
    expect(outcome).toEqual(made({ status: "removed", previous: digestOf("a") }));
    expect(names(index)).toEqual(["2", digestOf("b")]);
    expect(merge(index, [{ op: "remove", tag: "1" }])).toEqual({ index, outcome: made({ status: "unchanged" }) });
  });

  it("removes a digest with all its tags, and remembers it until it comes again", () => {
    const { index, outcome } = merge(base, [{ op: "remove", digest: digestOf("a") }]);
    expect(outcome).toEqual(made({ status: "removed", previous: digestOf("a") }));
    expect(names(index)).toEqual([digestOf("b")]);
    expect(index.removed).toEqual([digestOf("a")]);
    expect(merge(index, [{ op: "remove", digest: digestOf("a") }]).outcome).toEqual(made({ status: "unchanged" }));
    expect(merge(index, [set("1", "a")]).index.removed).toEqual([]);
  });

  it("remembers a removed digest that had no entry: it may have been a part of an image", () => {
    expect(merge(base, [{ op: "remove", digest: digestOf("z") }]).index.removed).toEqual([digestOf("z")]);
  });

  it("remembers no more than so many removed digests, the latest", () => {
    const digests = Array.from({ length: maxRemoved + 2 }, (_, i) => digestOf(String(i)));
    const { index } = merge(
      base,
      digests.map((digest): Change => ({ op: "remove", digest })),
    );
    expect(index.removed).toEqual(digests.slice(2));
  });

  it.each<[string, Change]>([
    ["a tag that must not be there", set("1", "c", { expects: "absent" })],
    ["a tag that must be at another digest", set("1", "c", { expects: { digest: digestOf("b") } })],
    ["a tag that must be at the digest at which another is", set("9", "c", { expects: { digest: digestOf("a") } })],
    ["a tag to remove that must be at another digest", { op: "remove", tag: "1", expects: { digest: digestOf("b") } }],
    ["a digest alone that must not be there", set(undefined, "b", { expects: "absent" })],
  ])("refuses a whole set for %s", (_, change) => {
    const { index, outcome } = merge(base, [set("new", "d"), change]);
    expect(index).toBe(base);
    expect(outcome).toMatchObject({ refused: { reason: "unexpected" } });
  });

  it.each<[string, Change]>([
    ["a tag that is not there", set("9", "c", { expects: "absent" })],
    ["a tag that is at the digest", set("1", "c", { expects: { digest: digestOf("a") } })],
    ["a tag to remove", { op: "remove", tag: "1", expects: { digest: digestOf("a") } }],
  ])("makes a change whose condition holds: %s", (_, change) => {
    expect(merge(base, [change]).outcome).toHaveProperty("changes");
  });

  it.each<[string, Change]>([
    ["move", set("1", "c")],
    ["removal", { op: "remove", tag: "1" }],
    ["removal by digest", { op: "remove", digest: digestOf("a") }],
  ])("refuses the %s of an immutable tag", (_, change) => {
    const { index, outcome } = merge(base, [change], ["nothing", "1*"]);
    expect(index).toBe(base);
    expect(outcome).toEqual({ refused: { reason: "immutable", reference: "1", found: digestOf("a") } });
  });

  it("lets an immutable tag be made, and set to where it is", () => {
    expect(merge(base, [set("1", "a"), set("10", "c"), set("2", "c")], ["1*"]).outcome).toEqual(
      made({ status: "unchanged" }, { status: "created" }, { status: "updated", previous: digestOf("a") }),
    );
  });

  it("applies the sets that hold, one after the other, whatever became of those before", () => {
    const { index, outcomes } = mergeIndex(
      emptyIndex,
      [
        { changes: [set("1", "a", { expects: "absent" })] },
        { changes: [set("1", "b", { expects: "absent" })] },
        { changes: [set("1", "c", { expects: { digest: digestOf("a") } })] },
      ],
      0,
    );
    expect(outcomes).toEqual([
      made({ status: "created" }),
      { refused: { reason: "unexpected", reference: "1", found: digestOf("a") } },
      made({ status: "updated", previous: digestOf("a") }),
    ]);
    expect(index.entries.map(({ digest }) => digest)).toEqual([digestOf("c")]);
  });
});

describe("serializeRepositoryIndex", () => {
  it("keeps what other tools wrote", () => {
    const foreign = {
      schemaVersion: 2,
      manifests: [
        {
          mediaType,
          digest: digestOf("a"),
          size: 1,
          platform: { os: "windows", "os.features": ["win32k"] },
          data: "YQ==",
        },
      ],
      annotations: { "org.example.note": "kept" },
    };
    const index = parseRepositoryIndex(Buffer.from(JSON.stringify(foreign)), "index.json");
    const written = JSON.parse(Buffer.from(serializeRepositoryIndex(index)).toString()) as typeof foreign;
    expect(written.manifests).toEqual(foreign.manifests);
    expect(written.annotations).toMatchObject(foreign.annotations);
  });

  it("writes what parseRepositoryIndex reads", () => {
    const index: RepositoryIndex = {
      ...base,
      format: 2,
      generation: 7,
      commits: ["one", "two"],
      applied: new Map<string, ChangeSetOutcome[]>([
        ["three", [made({ status: "updated", previous: digestOf("a") }), { failed: "expired" }]],
        ["five", [{ failed: "full" }, { failed: "expired", stale: true }]],
        ["four", [{ refused: { reason: "immutable", reference: "1", found: digestOf("a") } }]],
      ]),
      removed: [digestOf("x"), digestOf("y")],
      history: { id: "one", gone: new Map([["a tag", { generation: 6, time: 5 }]]), forgotten: 3 },
      annotations: { "org.example.note": "kept" },
    };
    expect(parseRepositoryIndex(serializeRepositoryIndex(index), "index.json")).toEqual(index);
  });
});

describe("parseRepositoryIndex", () => {
  it.each([
    "",
    "[]",
    "{}",
    '{"manifests":[{}]}',
    "\xff",
    '{"manifests":[],"annotations":{"dev.stowage.applied":"[]"}}',
    '{"manifests":[],"annotations":{"dev.stowage.applied":"{\\"a\\":[{\\"changes\\":[{\\"status\\":\\"gone\\"}]}]}"}}',
  ])("says that %j in the store is damaged", (text) => {
    expect(() => parseRepositoryIndex(Buffer.from(text, "latin1"), "index.json")).toThrow(
      expect.objectContaining({ code: "STORE_DAMAGED" }) as Error,
    );
  });

  it.each([
    ["no format", '{"dev.stowage.generation":"7"}', { format: 2, generation: 7, history: { id: "", forgotten: 7 } }],
    ["no annotations", "{}", { format: 2, generation: 5, history: { id: "", forgotten: 5 } }],
    [
      "a history of an earlier generation",
      JSON.stringify({
        "dev.stowage.generation": "7",
        "dev.stowage.history": JSON.stringify({ id: "one", generation: 6, forgotten: 0, gone: [["1", 6, 1]] }),
      }),
      { generation: 7, history: { id: "", forgotten: 7, gone: new Map() } },
    ],
    [
      "a history that cannot be read",
      '{"dev.stowage.generation":"7","dev.stowage.history":"{"}',
      { history: { forgotten: 7 } },
    ],
  ])("takes what another tool left with %s for changed in the latest generation", (_, annotations, expected) => {
    const entry = { ...set("1", "a"), annotations: { "dev.stowage.at": "5 1" } };
    const text = `{"manifests":[${JSON.stringify(entry)}],"annotations":${annotations}}`;
    expect(parseRepositoryIndex(Buffer.from(text), "index.json")).toMatchObject(expected);
  });
});

describe("findStale", () => {
  const seen = { ...seenOf(base), generation: base.generation };
  const isStale = (index: RepositoryIndex, change: Change, generation = seen.generation): boolean =>
    findStale(index, [])({ changes: [change] }, { ...seen, generation });
  const next = merge(base, [set("1", "c"), { op: "remove", tag: "2" }]).index;

  it("finds changes of a tag and removals that are newer, and no others", () => {
    expect(isStale(next, set("1", "d"))).toBe(true);
    expect(isStale(next, set("2", "d"))).toBe(true);
    expect(isStale(next, { op: "remove", tag: "2" })).toBe(true);
    expect(isStale(next, { op: "remove", digest: digestOf("c") })).toBe(true);
    expect(isStale(next, set("3", "d"))).toBe(false);
    expect(isStale(next, set("1", "d"), seen.generation + 1)).toBe(false);
  });

  it("takes everything for stale that has seen less than what was forgotten", () => {
    const tags = Array.from({ length: 1001 }, (_, i) => `t${i}`);
    const full = merge(
      base,
      tags.map((tag) => set(tag, "a")),
    ).index;
    const { history, generation } = merge(
      { ...full, generation: 1 },
      tags.map((tag): Change => ({ op: "remove", tag })),
    ).index;
    expect(history).toMatchObject({ forgotten: generation + 1 });
    expect(history.gone.size).toBe(1000);
    expect(isStale({ ...full, history }, set("never there", "a"), generation)).toBe(true);
    expect(isStale({ ...full, history }, set("never there", "a"), generation + 1)).toBe(false);
  });

  it("forgets a removal after two hours", () => {
    const late = mergeIndex(next, [{ changes: [set("3", "a")] }], 3 * 60 * 60_000).index;
    expect(late.history).toMatchObject({ gone: new Map(), forgotten: next.generation + 1 });
  });

  it("does not let a removal take a tag that gets the digest in the same merge", () => {
    const fresh: Change = { op: "remove", digest: digestOf("z") };
    expect(isStale(next, fresh)).toBe(false);
    const isStaleWith = findStale(next, [{ changes: [set("1", "z")] }]);
    expect(isStaleWith({ changes: [fresh] }, seen)).toBe(true);
  });

  it("takes another history for stale", () => {
    expect(findStale(base, [])({ changes: [set("9", "d")] }, { ...seen, history: "another" })).toBe(true);
  });
});
