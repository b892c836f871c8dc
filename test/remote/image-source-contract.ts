/** What every place to read images from has to keep: a store, and each registry. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isDigest } from "../../src/digest.ts";
import type { ImageSource } from "../../src/remote/image-source.ts";
import { VerifiedBytes } from "../../src/streams/verify-bytes.ts";
import { randomBytes, readAll, sha256 } from "../support/bytes.ts";
import { type Layout, joinLayouts, makeLayout, types } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";

const layer = randomBytes(3 * 1024 * 1024);
const image = makeLayout({ layers: [layer, Buffer.alloc(0)], name: "team/app:1.4", label: "image" });
const list = makeLayout({ platforms: ["linux/amd64", "linux/arm64"], name: "team/app:list", label: "list" });
const other = makeLayout({ name: "team/other:1", label: "other" });
const [root = { mediaType: "", digest: "sha256:", size: 0 }] = image.roots;
const { mediaType, digest, size } = root;
const referrers = ["signature", "sbom"].map((label) =>
  makeLayout({ subject: { mediaType, digest, size }, name: `team/app:${label}`, label }),
);

/** The images that a source must hold, as `team/app` and `team/other`. */
export const contractLayout: Layout = joinLayouts(image, list, other, ...referrers);

export interface OpenedSource {
  readonly source: ImageSource;
  readonly close: () => Promise<void>;
}

/** `open` makes a source that holds the `contractLayout`. `missing` names what this machine lacks for that. */
export function describeImageSource(
  name: string,
  { missing = [], open }: { readonly missing?: readonly string[]; readonly open: () => Promise<OpenedSource> },
): void {
  describeIfFound(`ImageSource, ${name}`, missing, () => {
    let source: ImageSource;
    let close: (() => Promise<void>) | undefined;
    beforeAll(async () => ({ source, close } = await open()));
    afterAll(async () => close?.());

    const unknown = sha256(Buffer.from("unknown"));
    const read = async (blob: Buffer, start?: number): Promise<Buffer> => {
      const body = await source.readBlob("team/app", { digest: sha256(blob), size: blob.length }, { start });
      if (body === undefined) throw new Error("expected a blob");
      return readAll(body);
    };

    describe("lists", () => {
      it("name the repositories", async () => {
        expect((await source.listRepositories()).toSorted()).toEqual(["team/app", "team/other"]);
      });

      it("name the tags of a repository", async () => {
        const references = (await source.listEntries("team/app")).map(({ reference }) => reference);
        // A registry may keep referrers under a tag.
        const tags = references.filter((reference) => !reference.startsWith("sha256-")).toSorted();
        expect(tags).toEqual(["1.4", "list", "sbom", "signature"]);
        expect((await source.listEntries("team/other")).map(({ reference }) => reference)).toEqual(["1"]);
      });

      it("are an error for a repository that is not there", async () => {
        await expect(source.listEntries("team/nowhere")).rejects.toMatchObject({ code: "NAME_UNKNOWN" });
      });

      it("name the referrers of a manifest", async () => {
        const found = await source.listReferrers("team/app", new Set([image.digest]));
        const digests = referrers.map((referrer) => referrer.digest);
        expect(found.map((referrer) => referrer.digest).toSorted()).toEqual(digests.toSorted());
        for (const referrer of found) {
          const length = contractLayout.blobs.get(referrer.digest)?.length;
          expect(referrer).toMatchObject({ mediaType: types.manifest, size: length });
        }
        expect(await source.listReferrers("team/app", new Set([list.digest]))).toEqual([]);
        expect(await source.listReferrers("team/app", new Set([unknown]))).toEqual([]);
      });
    });

    describe("headManifest and readManifest", () => {
      it.each([
        ["an image by its tag", "1.4", image],
        ["an image by its digest", image.digest, image],
        ["an index by its tag", "list", list],
        ["a part of an index by its digest", list.manifests[1] ?? "", list],
      ])("find %s", async (_, reference, { digest: rootDigest, blobs }) => {
        const wanted = isDigest(reference) ? reference : rootDigest;
        const bytes = blobs.get(wanted) ?? Buffer.alloc(0);
        const found = await source.readManifest("team/app", reference);
        const isIndex = wanted === list.digest;
        const identity = {
          digest: wanted,
          mediaType: isIndex ? types.index : types.manifest,
          size: bytes.length,
        };
        expect(found).toMatchObject({ ...identity, manifest: { kind: isIndex ? "index" : "manifest" } });
        expect(Buffer.compare(found?.bytes ?? Buffer.alloc(0), bytes)).toBe(0);
        expect(await source.headManifest("team/app", reference)).toEqual(identity);
      });

      it.each([
        ["a tag", "team/app", "9"],
        ["a digest", "team/app", unknown],
        ["a repository", "team/nowhere", "1"],
      ])("are undefined for %s that is not there", async (_, repository, reference) => {
        expect(await source.readManifest(repository, reference)).toBeUndefined();
        expect(await source.headManifest(repository, reference)).toBeUndefined();
      });
    });

    describe("headBlob and readBlob", () => {
      it("find a blob, and read all of it", async () => {
        expect(await source.headBlob("team/app", sha256(layer))).toBe(layer.length);
        const expected = { digest: sha256(layer), size: layer.length };
        const body = await source.readBlob("team/app", expected);
        const verified = body && new VerifiedBytes(body, expected);
        expect(verified && Buffer.compare(await readAll(verified), layer)).toBe(0);
      });

      it.each([1, 1024 * 1024 + 1, layer.length - 1, layer.length])("read a blob from byte %i on", async (start) => {
        expect(Buffer.compare(await read(layer, start), layer.subarray(start))).toBe(0);
      });

      it("read a blob without bytes", async () => {
        expect(await source.headBlob("team/app", sha256(Buffer.alloc(0)))).toBe(0);
        expect(await read(Buffer.alloc(0))).toEqual(Buffer.alloc(0));
      });

      it("are undefined for a blob that is not there", async () => {
        expect(await source.headBlob("team/app", unknown)).toBeUndefined();
        expect(await source.readBlob("team/app", { digest: unknown, size: 7 })).toBeUndefined();
        expect(await source.readBlob("team/app", { digest: unknown, size: 7 }, { start: 3 })).toBeUndefined();
      });

      it("refuse a blob of another size", async () => {
        for (const wrong of [layer.length - 1, layer.length + 1]) {
          const reading = async (start: number): Promise<unknown> => {
            const body = await source.readBlob("team/app", { digest: sha256(layer), size: wrong }, { start });
            return body && readAll(body);
          };
          await expect(reading(0)).rejects.toMatchObject({ code: "SIZE_INVALID" });
          await expect(reading(1000)).rejects.toMatchObject({ code: "SIZE_INVALID" });
        }
      });

      it("can be left early, and read again", async () => {
        for (let i = 0; i < 20; i++) {
          const body = await source.readBlob("team/app", { digest: sha256(layer), size: layer.length });
          if (body === undefined) throw new Error("expected a blob");
          for await (const _ of body) break;
        }
        expect(Buffer.compare(await read(layer), layer)).toBe(0);
      });
    });

    it("ends with the signal's reason", async () => {
      const reason = new Error("enough");
      const signal = AbortSignal.abort(reason);
      const blob = { digest: sha256(layer), size: layer.length };
      await expect(source.listEntries("team/app", { signal })).rejects.toBe(reason);
      await expect(source.readManifest("team/app", "1.4", { signal })).rejects.toBe(reason);
      await expect(source.readBlob("team/app", blob, { signal })).rejects.toBe(reason);
    });
  });
}
