/**
 * Signatures and the like that have no subject, as `cosign save` and `hauler store save` write them. The annotation `kind` of
 * its descriptor tells what a root is. A signature belongs to the image that has the same name or, without a name, to the only
 * image of the archive.
 */
import { nameTextOf } from "./archive-name.ts";
import type { ClosedRoot } from "../layout/check-closure.ts";

const kindAnnotation = "kind";
const imageKind = /^dev\.(?:cosignproject\.cosign|hauler)\/image(?:Index)?$/;
const extraKind = /^dev\.(?:cosignproject\.cosign|hauler)\/(sig|att|sbom)s$/;

/** What says something about an image by its tag. */
export interface CosignTag {
  /** `sha256-<hex>.sig`, `.att` or `.sbom`, with the digest of the image: where cosign looks for it. */
  readonly tag: string;
  readonly image: ClosedRoot;
}

/** Is it a signature, an attestation or a bill of materials of another root? Such a one does not want the name's tag. */
export function isCosignExtra(root: ClosedRoot): boolean {
  return root.subject === undefined && extraKind.test(kindOf(root));
}

/** The tag of such a root; undefined if it cannot be told which image it belongs to. */
export function cosignTagOf(extra: ClosedRoot, { named, only }: CosignImages): CosignTag | undefined {
  const [, suffix] = extraKind.exec(kindOf(extra)) ?? [];
  const image = named.get(nameTextOf(extra) ?? "") ?? only;
  return image === undefined ? undefined : { tag: `${image.digest.replace(":", "-")}.${suffix}`, image };
}

/** The images that signatures can belong to. */
export interface CosignImages {
  /** By the text of the name. Two images of one name are none. */
  readonly named: ReadonlyMap<string, ClosedRoot | undefined>;
  /** The image, if the archive has just one. */
  readonly only: ClosedRoot | undefined;
}

export function cosignImagesIn(roots: readonly ClosedRoot[]): CosignImages {
  const images = roots.filter((root) => root.subject === undefined && !isCosignExtra(root));
  const named = new Map<string, ClosedRoot | undefined>();
  for (const image of images) {
    const name = nameTextOf(image);
    if (name !== undefined) named.set(name, isOther(named.get(name), image, named.has(name)) ? undefined : image);
  }
  const [only, ...others] = images.filter((image) => imageKind.test(kindOf(image)));
  return { named, only: others.some(({ digest }) => digest !== only?.digest) ? undefined : only };
}

function isOther(before: ClosedRoot | undefined, image: ClosedRoot, isKnown: boolean): boolean {
  return isKnown && before?.digest !== image.digest;
}

function kindOf({ annotations }: ClosedRoot): string {
  return annotations?.[kindAnnotation] ?? "";
}
