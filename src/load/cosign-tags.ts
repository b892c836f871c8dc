/**
 * Signatures as `cosign save` writes them: a layout of one image and, beside it, manifests without a subject. What each is an
 * annotation of its descriptor tells; what they sign is said nowhere but by their place, and later by their tag.
 */
import type { ClosedRoot } from "./check-closure.ts";

const kindAnnotation = "kind";
const imageKinds = new Set(["dev.cosignproject.cosign/image", "dev.cosignproject.cosign/imageIndex"]);
/** By kind, how the tag ends under which cosign looks for it. */
const suffixes: ReadonlyMap<string, string> = new Map([
  ["dev.cosignproject.cosign/sigs", "sig"],
  ["dev.cosignproject.cosign/atts", "att"],
]);

/** What says something about an image by its tag. */
export interface CosignTag {
  /** `sha256-<hex>.sig` or `sha256-<hex>.att`, with the digest of the image. */
  readonly tag: string;
  readonly image: ClosedRoot;
}

/** By digest, the signatures and attestations among the roots; none unless there is just one image that they can belong to. */
export function cosignTagsOf(roots: readonly ClosedRoot[]): ReadonlyMap<string, CosignTag> {
  const [image, ...others] = roots.filter((root) => imageKinds.has(kindOf(root)));
  if (image === undefined || others.some(({ digest }) => digest !== image.digest)) return new Map();
  return new Map(
    roots.flatMap((root): [string, CosignTag][] => {
      const suffix = suffixes.get(kindOf(root));
      if (suffix === undefined || root.subject !== undefined) return [];
      return [[root.digest, { tag: `${image.digest.replace(":", "-")}.${suffix}`, image }]];
    }),
  );
}

function kindOf({ annotations }: ClosedRoot): string {
  return annotations?.[kindAnnotation] ?? "";
}
