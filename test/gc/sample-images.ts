/** The images of a simulation: few, and with blobs in common, so that what one lets go of another needs. */
import type { Digest } from "../../src/digest.ts";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { blobKey } from "../../src/layout/keys.ts";
import { Layout as OpenLayout } from "../../src/layout/layout.ts";
import type { SetChange } from "../../src/oci/index-change.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { type Layout, type TestDescriptor, makeLayout } from "../support/layout.ts";

export interface SampleImage {
  readonly root: TestDescriptor;
  /** All that it needs. */
  readonly blobs: ReadonlyMap<Digest, Uint8Array>;
  /** What a load may leave out where the store has it: layers and configs. */
  readonly parts: ReadonlySet<Digest>;
  /** The manifests that an index names. A push brings each of them by itself. */
  readonly children: readonly Digest[];
  /** What publishes it. */
  readonly change: SetChange;
}

const [x, y, z] = [Buffer.from("layer x\n"), Buffer.from("layer y\n"), Buffer.from("layer z\n")];
const first = makeLayout({ layers: [x, y], label: "first" });
const subject = rootOf(first);

/** Two images, an index of two, and a referrer of the first. */
export const sampleImages: readonly SampleImage[] = [
  sampleImage(first, { tag: "first" }),
  sampleImage(makeLayout({ layers: [y, z], label: "second" }), { tag: "second" }),
  sampleImage(makeLayout({ layers: [x], platforms: ["linux/amd64", "linux/arm64"] }), { tag: "index" }),
  sampleImage(makeLayout({ layers: [z], label: "referrer", subject }), { subject: subject.digest }),
];

/** The tag, or the digest of an image without a tag. */
export function nameOf({ tag, digest }: SetChange): string {
  return tag ?? digest;
}

/** All that an image, or a manifest of an index, needs. */
export function neededBy(digest: Digest): readonly Digest[] {
  const blobs = sampleImages.find((image) => image.blobs.has(digest))?.blobs;
  const bytes = blobs?.get(digest);
  if (blobs === undefined || bytes === undefined) return [];
  const { config, layers = [], manifests = [] } = JSON.parse(Buffer.from(bytes).toString()) as SampleManifest;
  const parts = [config, ...layers].flatMap((part) => (part === undefined ? [] : [part.digest]));
  return [digest, ...parts, ...manifests.flatMap((child) => neededBy(child.digest))];
}

interface SampleManifest {
  readonly config?: TestDescriptor;
  readonly layers?: readonly TestDescriptor[];
  readonly manifests?: readonly TestDescriptor[];
}

let sampleStore: Promise<OpenLayout> | undefined;

/** A store that has all of them, for those that copy. It is filled once. */
export async function openSampleStore(): Promise<OpenLayout> {
  sampleStore ??= fillSampleStore();
  return sampleStore;
}

async function fillSampleStore(): Promise<OpenLayout> {
  const layout = OpenLayout.open(new MemoryStore());
  for (const { blobs } of sampleImages) {
    for (const [digest, bytes] of blobs) await layout.store.put(blobKey(digest), bytes);
  }
  await updateRepository(layout, { repository: "images", changes: sampleImages.map(({ change }) => change) });
  return layout;
}

function sampleImage(layout: Layout, names: { readonly tag?: string; readonly subject?: Digest }): SampleImage {
  const root = rootOf(layout);
  const manifests = new Set([...layout.manifests, root.digest]);
  return {
    root,
    blobs: layout.blobs,
    parts: new Set([...layout.blobs.keys()].filter((digest) => !manifests.has(digest))),
    children: layout.manifests.filter((digest) => digest !== root.digest),
    change: { op: "set", mediaType: root.mediaType, digest: root.digest, size: root.size, ...names },
  };
}

function rootOf({ roots: [root] }: Layout): TestDescriptor {
  if (root === undefined) throw new Error("expected a layout of one image");
  return root;
}
