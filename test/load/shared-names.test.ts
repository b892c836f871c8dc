/** Names that several roots of an archive have, and images that several roots are together. */
import { describe, expect, it } from "vitest";
import type { Receipt } from "../../src/load/receipt.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { type Layout, type TestDescriptor, filesOf, joinLayouts, makeLayout, tarOf, types } from "../support/layout.ts";
import { bytesAt, loadBytes } from "../support/loading.ts";

const namesOf = ({ images }: Receipt): string[] =>
  images.map(({ repository, reference }) => `${repository}:${reference}`);

async function load(layout: Layout, name?: string, store = new MemoryStore()): Promise<Receipt> {
  return loadBytes(oneChunk(await tarOf(layout)), store, name === undefined ? {} : { name });
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}

function annotated(layout: Layout, annotations: Readonly<Record<string, string>>): Layout {
  return { ...layout, roots: layout.roots.map((root) => ({ ...root, annotations })) };
}

const rootOf = ({ roots: [root] }: Layout): TestDescriptor => {
  if (root === undefined) throw new Error("expected a root");
  return root;
};

describe("loadArchive, of images with what belongs to them under their names", () => {
  const vendors = { cosign: "dev.cosignproject.cosign", hauler: "dev.hauler" } as const;

  /** As `hauler store save` writes it. */
  function haul(vendor: keyof typeof vendors, extras: readonly string[]): { layout: Layout; images: Layout[] } {
    const images: Layout[] = [];
    const layouts = [0, 1].flatMap((i) => {
      const name = {
        "org.opencontainers.image.ref.name": `team/app${i}:v1`,
        "io.containerd.image.name": `docker.io/team/app${i}:v1`,
      };
      const kindOf = (kind: string): Record<string, string> => ({ ...name, kind: `${vendors[vendor]}/${kind}` });
      const image = makeLayout({ layers: [randomBytes(100, i)] });
      images.push(image);
      const others = extras.map((kind) => annotated(makeLayout({ layers: [], label: `${kind} ${i}` }), kindOf(kind)));
      return [...others, annotated(image, kindOf("image"))];
    });
    return { layout: joinLayouts(...layouts), images };
  }

  it.each(["cosign", "hauler"] as const)("tags signatures as cosign looks for them (%s)", async (vendor) => {
    const { layout, images } = haul(vendor, ["sigs", "atts", "sboms"]);
    const expected = images.flatMap(({ digest }, i) => {
      const tag = digest.replace(":", "-");
      return [`team/app${i}:${tag}.sig`, `team/app${i}:${tag}.att`, `team/app${i}:${tag}.sbom`, `team/app${i}:v1`];
    });
    expect(namesOf(await load(layout))).toEqual(expected);
  });

  it("publishes a signature whose image is not there by its digest", async () => {
    const name = { "io.containerd.image.name": "team/app:v1" };
    const [signature, attestation] = ["sigs", "atts"].map((kind) =>
      annotated(makeLayout({ label: kind }), { ...name, kind: `${vendors.cosign}/${kind}` }),
    );
    if (signature === undefined || attestation === undefined) throw new Error("expected two");
    expect(namesOf(await load(joinLayouts(signature, attestation)))).toEqual([
      `team/app:${signature.digest}`,
      `team/app:${attestation.digest}`,
    ]);
  });

  it.each([
    ["the image's own name", undefined, "team/app:v1", "team/app"],
    ["a repository in the request", "x/y", "x/y:v1", "x/y"],
    ["a name in the request", "x/y:2", "x/y:2", "x/y"],
  ])("lets an image have the tag, and its referrers their digests, with %s", async (_, name, tagged, repository) => {
    const image = makeLayout({ name: "team/app:v1" });
    const referrers = [1, 2].map((seed) =>
      makeLayout({ name: "team/app:v1", layers: [randomBytes(9, seed)], subject: rootOf(image) }),
    );
    for (const order of [
      [image, ...referrers],
      [...referrers, image],
    ]) {
      const names = namesOf(await load(joinLayouts(...order), name));
      const wanted = [tagged, ...referrers.map(({ digest }) => `${repository}:${digest}`)];
      expect(names.toSorted()).toEqual(wanted.toSorted());
    }
  });

  it("lets a referrer have a tag that nothing else has", async () => {
    const image = makeLayout({ name: "team/app:v1" });
    const sbom = makeLayout({ name: "team/app:v1-sbom", subject: rootOf(image) });
    expect(namesOf(await load(joinLayouts(image, sbom)))).toEqual(["team/app:v1", "team/app:v1-sbom"]);
  });
});

describe("loadArchive, of an index.json that lists the platforms of an image", () => {
  const platform = (architecture: string): Readonly<Record<string, unknown>> => ({
    platform: { os: "linux", architecture },
  });
  const withPlatform = (architecture: string, options: Parameters<typeof makeLayout>[0] = {}): Layout =>
    makeLayout({ ...options, label: architecture, root: platform(architecture) });
  const indexOf = (layout: Layout): Uint8Array =>
    filesOf(layout).find(({ name }) => name === "index.json")?.bytes ?? new Uint8Array();
  const both = joinLayouts(withPlatform("amd64"), withPlatform("arm64"));

  it("publishes index.json itself under the name of the request", async () => {
    const store = new MemoryStore();
    const { images, blobs } = await load(both, "team/app:1", store);
    const digest = sha256(indexOf(both));
    expect(images).toMatchObject([{ repository: "team/app", reference: "1", digest, mediaType: types.index }]);
    expect(blobs.map((blob) => blob.digest)).toContain(digest);
    expect(await bytesAt(store, `blobs/${digest.replace(":", "/")}`)).toEqual(Buffer.from(indexOf(both)));
    expect(namesOf(await load(both, `team/app@${digest}`))).toEqual([`team/app:${digest}`]);
  });

  it("publishes each by its digest if the request has no tag", async () => {
    const digests = both.roots.map(({ digest }) => digest);
    expect(namesOf(await load(both, "team/app"))).toEqual(digests.map((digest) => `team/app:${digest}`));
    expect(namesOf(await load(both))).toEqual(digests.map((digest) => `images:${digest}`));
  });

  it.each([
    ["one of them has no platform", joinLayouts(both, makeLayout({ label: "none" }))],
    ["they have names", joinLayouts(withPlatform("amd64", { name: "a:1" }), withPlatform("arm64", { name: "b:1" }))],
  ])("says what it expects if %s", async (_, layout) => {
    await expect(load(layout, "team/app:1")).rejects.toMatchObject({
      code: "INDEX_INVALID",
      message: expect.stringMatching(/holds \d images, expected one, or the platforms of one/) as string,
    });
  });

  it.each([[undefined], ["team/app"], ["team/app:1"]])("joins those of one name, with %s requested", async (name) => {
    const named = joinLayouts(...["amd64", "arm64"].map((arch) => withPlatform(arch, { refName: "team/app:1" })));
    const { images } = await load(named, name);
    expect(images).toMatchObject([{ repository: "team/app", reference: "1", digest: sha256(indexOf(named)) }]);
  });

  it("makes an index of those of one name if there are others, always the same", async () => {
    const [app, web] = ["team/app:1", "team/web:1"].map((name) =>
      ["amd64", "arm64"].map((arch) => withPlatform(arch, { name, layers: [Buffer.from(name)] })),
    );
    const one = await load(joinLayouts(...(app ?? []), ...(web ?? [])));
    expect(namesOf(one)).toEqual(["team/app:1", "team/web:1"]);
    expect(one.images.map(({ mediaType }) => mediaType)).toEqual([types.index, types.index]);
    expect(new Set(one.images.map(({ digest }) => digest)).size).toBe(2);
    const again = await load(joinLayouts(...(app ?? []), makeLayout({ label: "z" })));
    expect(again.images.find(({ repository }) => repository === "team/app")?.digest).toBe(one.images[0]?.digest);
  });

  it("refuses two of one name for one platform, and says why", async () => {
    const twice = joinLayouts(withPlatform("amd64", { name: "app:1" }), {
      ...makeLayout({ name: "app:1", label: "b", root: platform("amd64") }),
    });
    await expect(load(twice)).rejects.toMatchObject({
      code: "INDEX_INVALID",
      message: expect.stringMatching(
        /Cannot name two images "app:1".*index\.json lists with a platform each/,
      ) as string,
    });
  });
});
