import { describe, expect, it } from "vitest";
import { type SetChange, mergeIndex } from "../../src/oci/merge-index.ts";
import {
  type RepositoryIndex,
  emptyIndex,
  parseRepositoryIndex,
  serializeRepositoryIndex,
  tagOf,
} from "../../src/oci/repository-index.ts";
import { sha256 } from "../support/bytes.ts";

const mediaType = "application/vnd.oci.image.manifest.v1+json";
const set = (tag: string | undefined, content: string): SetChange => ({
  tag,
  mediaType,
  digest: sha256(Buffer.from(content)),
  size: content.length,
});
const names = ({ entries }: RepositoryIndex): string[] => entries.map((entry) => tagOf(entry) ?? entry.digest);

describe("mergeIndex", () => {
  it("creates tags and digests, the generation one higher", () => {
    const { index, outcomes } = mergeIndex(emptyIndex, [set("1", "a"), set(undefined, "b")]);
    expect(outcomes).toEqual([{ status: "created" }, { status: "created" }]);
    expect(names(index)).toEqual(["1", set(undefined, "b").digest]);
    expect(index.generation).toBe(1);
  });

  it("moves a tag and tells from where", () => {
    const before = mergeIndex(emptyIndex, [set("1", "a"), set("2", "a")]).index;
    const { index, outcomes } = mergeIndex(before, [set("1", "b")]);
    expect(outcomes).toEqual([{ status: "updated", previous: set("1", "a").digest }]);
    expect(names(index)).toEqual(["1", "2"]);
    expect(index.generation).toBe(2);
  });

  it("gives back the same index where all is there", () => {
    const before = mergeIndex(emptyIndex, [set("1", "a"), set(undefined, "a")]).index;
    const { index, outcomes } = mergeIndex(before, [set("1", "a"), set(undefined, "a")]);
    expect(index).toBe(before);
    expect(outcomes).toEqual([{ status: "unchanged" }, { status: "unchanged" }]);
  });

  it("keeps a digest by itself when a tag that had it moves on", () => {
    const before = mergeIndex(emptyIndex, [set("1", "a"), set(undefined, "a")]).index;
    const { index } = mergeIndex(before, [set("1", "b")]);
    expect(names(index)).toEqual(["1", set(undefined, "a").digest]);
  });
});

describe("serializeRepositoryIndex", () => {
  it("keeps what other tools wrote", () => {
    const foreign = {
      schemaVersion: 2,
      manifests: [{ mediaType, digest: sha256(Buffer.from("a")), size: 1, platform: { os: "linux" }, data: "YQ==" }],
      annotations: { "org.example.note": "kept" },
    };
    const index = parseRepositoryIndex(Buffer.from(JSON.stringify(foreign)), "index.json");
    const written = JSON.parse(Buffer.from(serializeRepositoryIndex(index)).toString()) as typeof foreign;
    expect(written.manifests).toEqual(foreign.manifests);
    expect(written.annotations).toMatchObject(foreign.annotations);
  });

  it("never writes two states with the same bytes", () => {
    const first = mergeIndex(emptyIndex, [set("1", "a")]).index;
    const back = mergeIndex(mergeIndex(first, [set("1", "b")]).index, [set("1", "a")]).index;
    expect(back.entries).toEqual(first.entries);
    expect(serializeRepositoryIndex(back)).not.toEqual(serializeRepositoryIndex(first));
  });
});

describe("parseRepositoryIndex", () => {
  it.each(["", "[]", "{}", '{"manifests":[{}]}', "\xff"])("says that %j in the store is damaged", (text) => {
    expect(() => parseRepositoryIndex(Buffer.from(text, "latin1"), "index.json")).toThrow(
      expect.objectContaining({ code: "STORE_DAMAGED" }) as Error,
    );
  });
});
