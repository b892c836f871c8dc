/**
 * Small images of every kind that crane and regctl can make, in a registry: for tests that care for the forms of images
 * and not for their sizes.
 */
import { runShell } from "./run-tool.ts";

/** By tag. */
export const smallImages = {
  amd64: "one image",
  arm64: "another platform's image",
  twice: "the same layer twice, and an empty one",
  list: "an index of two platforms",
  nested: "an index inside an index",
  none: "an index of nothing",
  zstd: "zstd layers",
  uncompressed: "uncompressed layers",
  docker: "Docker's media types",
  data: "config and small layers in the data field",
} as const;

export type SmallImage = keyof typeof smallImages;

export interface PushOptions {
  /** By `writeSmallContext`. */
  readonly context: string;
  /** To work in. */
  readonly folder: string;
}

/** Pushes `small:<tag>` for all of them into the registry, which speaks plain HTTP. */
export async function pushSmallImages(registry: string, { context, folder }: PushOptions): Promise<void> {
  await runShell(script, { cwd: folder, env: { CONTEXT: context, REGISTRY: registry, SMALL: `${registry}/small` } });
}

const script = `
  pack="tar -C $CONTEXT --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner"
  $pack -cf bin.tar bin
  $pack -cf etc.tar etc
  tar -cf empty.tar -T /dev/null
  regctl="regctl --host reg=$REGISTRY,tls=disabled"

  crane append --oci-empty-base -f bin.tar -f etc.tar -t $SMALL:amd64
  crane mutate --set-platform linux/amd64 -t $SMALL:amd64 $SMALL:amd64
  crane mutate --set-platform linux/arm64 -t $SMALL:arm64 $SMALL:amd64
  crane append -b $SMALL:amd64 -f etc.tar -f empty.tar -t $SMALL:twice

  $regctl index create $SMALL:list --ref $SMALL:amd64 --ref $SMALL:arm64
  $regctl index create $SMALL:nested --ref $SMALL:list --ref $SMALL:twice
  $regctl index create $SMALL:none
  $regctl image mod $SMALL:list --create $SMALL:zstd --layer-compress zstd
  $regctl image mod $SMALL:list --create $SMALL:uncompressed --layer-compress none
  $regctl image mod $SMALL:list --create $SMALL:docker --to-docker
  $regctl image mod $SMALL:amd64 --create $SMALL:data --data-max 4096
`;
