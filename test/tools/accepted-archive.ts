/**
 * What the tables of archives that Stowage has to accept are made of. A maker is a real tool, or two together; each of its
 * archives is a line of shell, and so is the question that a tool which is not Stowage answers: which digest is that?
 */
import type { Tool } from "./find-tool.ts";
import type { Environment, Workshop } from "./workshop.ts";

export interface ArchiveMaker {
  readonly name: string;
  readonly needs: readonly Tool[];
  /** Makes what the lines below need, and returns the environment in which they find it. */
  readonly prepare: (workshop: Workshop) => Promise<Environment>;
  readonly archives: readonly AcceptedArchive[];
}

/** All lines run in one folder of the archive's own, which holds it as `image.tar`, and unpacked in `unpacked`. */
export interface AcceptedArchive {
  readonly title: string;
  /** Writes the archive to standard output. */
  readonly script: string;
  /** Unpacks it, where GNU tar alone cannot. */
  readonly unpack?: string;
  /** Prints the digest of each image in it, by another tool or out of the maker's own store. */
  readonly digests: string;
  /** Who pulls the images back. */
  readonly puller: Puller;
  /** Prints the digests that are pulled, where these are not whole images: of a sparse index what is there. */
  readonly pulled?: string;
}

/** The clients that pull `$IMAGE` from `$HOST` into the folder `pulled`, with everything below it. */
export const pullers = {
  skopeo: "skopeo copy --quiet --all --src-tls-verify=false docker://$IMAGE dir:pulled",
  crane: "crane pull --format oci $IMAGE pulled",
  regctl: "regctl --host reg=$HOST,tls=disabled image copy $IMAGE ocidir://pulled:it",
  oras: "oras copy --from-plain-http --to-oci-layout $IMAGE pulled:it",
} as const satisfies Readonly<Partial<Record<Tool, string>>>;

export type Puller = keyof typeof pullers;

/** The digest of the layout's only image, as skopeo reads it. */
export const skopeoDigest = "skopeo inspect --raw oci:unpacked | sha256sum | sed 's/^/sha256:/; s/ .*//'";

/** The digests of these tags in the layout, as regctl reads it. */
export const regctlDigests = (...tags: readonly string[]): string =>
  tags.map((tag) => `regctl manifest head ocidir://unpacked:${tag}`).join("; ");

/** The digests of these tags in the layout, as ORAS reads it. */
export const orasDigests = (...tags: readonly string[]): string =>
  tags.map((tag) => `oras resolve --oci-layout unpacked:${tag}`).join("; ");

/** Ends a line that has made a layout in the folder `layout`. */
export const tarLayout = "tar -C layout -cf - .";
