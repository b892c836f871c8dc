/** The images of a simulation: few, and with blobs in common, so that what one lets go of another needs. */
import type { Digest } from "../../src/digest.ts";
import type { Change } from "../../src/oci/index-change.ts";
import { type Layout, type TestDescriptor, makeLayout } from "../support/layout.ts";

export interface SampleImage {
  readonly root: TestDescriptor;
  /** All that it needs. */
  readonly blobs: ReadonlyMap<Digest, Uint8Array>;
  /** What a load may leave out where the store has it: layers and configs. */
  readonly parts: ReadonlySet<Digest>;
  /** What publishes it. */
  readonly change: Change;
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

function sampleImage(layout: Layout, names: { readonly tag?: string; readonly subject?: Digest }): SampleImage {
  const root = rootOf(layout);
  const manifests = new Set([...layout.manifests, root.digest]);
  return {
    root,
    blobs: layout.blobs,
    parts: new Set([...layout.blobs.keys()].filter((digest) => !manifests.has(digest))),
    change: { op: "set", mediaType: root.mediaType, digest: root.digest, size: root.size, ...names },
  };
}

function rootOf({ roots: [root] }: Layout): TestDescriptor {
  if (root === undefined) throw new Error("expected a layout of one image");
  return root;
}
