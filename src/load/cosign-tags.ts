/**
 * Finds the tags of signatures without a subject, as `cosign save` and `hauler store save` write them. The annotation
 * `kind` of a descriptor tells signatures and images apart. A signature with a name belongs to the image of the same
 * name. A signature without a name belongs to the only image of the archive.
 */
import { nameTextOf } from "./archive-name.ts";
import type { CheckedRoot } from "../layout/check-closure.ts";
import { referrersTag } from "../oci/index-entry.ts";

const kindAnnotation = "kind";
const imageKind = /^dev\.(?:cosignproject\.cosign|hauler)\/image(?:Index)?$/;
const extraKind = /^dev\.(?:cosignproject\.cosign|hauler)\/(sig|att|sbom)s$/;

/** A tag that ties a signature to its image. */
interface CosignTag {
  /**
   * `sha256-<hex>.sig`, `.att` or `.sbom`, with the digest of the image. Cosign looks for signatures under this tag.
   */
  readonly tag: string;
  readonly image: CheckedRoot;
}

/** Is the root a signature, an attestation or a bill of materials? Such a root does not claim the tag of its name. */
export function isCosignExtra(root: CheckedRoot): boolean {
  return root.subject === undefined && extraKind.test(kindOf(root));
}

/** The tag of a signature, an attestation or a bill of materials. Undefined if its image is not known. */
export function cosignTagOf(extra: CheckedRoot, { named, only }: CosignImages): CosignTag | undefined {
  const [, suffix] = extraKind.exec(kindOf(extra)) ?? [];
  const image = named.get(nameTextOf(extra) ?? "") ?? only;
  return image === undefined ? undefined : { tag: `${referrersTag(image.digest)}.${suffix}`, image };
}

/** The images that signatures can belong to. */
interface CosignImages {
  /** By the text of the name; undefined for a name that two images have. */
  readonly named: ReadonlyMap<string, CheckedRoot | undefined>;
  /** The image, if the archive has just one. */
  readonly only: CheckedRoot | undefined;
}

export function cosignImagesIn(roots: readonly CheckedRoot[]): CosignImages {
  const images = roots.filter((root) => root.subject === undefined && !isCosignExtra(root));
  const named = new Map<string, CheckedRoot | undefined>();
  for (const image of images) {
    const name = nameTextOf(image);
    if (name !== undefined) named.set(name, isOther(named.get(name), image, named.has(name)) ? undefined : image);
  }
  const [only, ...others] = images.filter((image) => imageKind.test(kindOf(image)));
  return { named, only: others.some(({ digest }) => digest !== only?.digest) ? undefined : only };
}

function isOther(before: CheckedRoot | undefined, image: CheckedRoot, isKnown: boolean): boolean {
  return isKnown && before?.digest !== image.digest;
}

function kindOf({ annotations }: CheckedRoot): string {
  return annotations?.[kindAnnotation] ?? "";
}
