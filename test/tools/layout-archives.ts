/** One layout by umoci, packed by every `tar` there is in every format that it writes, and compressed in every way. */
import { type AcceptedArchive, type ArchiveMaker, skopeoDigest } from "./accepted-archive.ts";
import type { Tool } from "./find-tool.ts";

export const layoutArchives: readonly ArchiveMaker[] = [
  {
    ...makerOf("umoci and GNU tar", ["tar"]),
    archives: [
      ...["ustar", "pax", "gnu", "oldgnu", "v7"].flatMap((format) => packedBy("tar", format)),
      archive(
        "pax, with a comment, nanoseconds, and an owner whose number octal has no room for",
        "tar --format=pax --pax-option=comment=x,atime:=1.000000001 --owner=me:4294967294 -cf - .",
      ),
      archive(
        "gnu, with an owner and a time in base 256",
        "tar --format=gnu --owner=me:4294967294 --mtime=@-1 -cf - .",
      ),
      archive("gnu, with 100 KiB of padding", "tar --blocking-factor=200 -cf - ."),
      archive("gnu, the index last", "tar -cf - blobs oci-layout index.json"),
      archive("gnu, with a label, which is an entry of its own", "tar --label=image -cf - ."),
      archive("gnu, with each directory's list of names, for incremental backups", "tar --incremental -cf - ."),
    ],
  },
  {
    ...makerOf("umoci and bsdtar", ["bsdtar"]),
    archives: ["ustar", "pax", "gnutar", "v7"].flatMap((format) => packedBy("bsdtar", format)),
  },
  {
    ...makerOf("umoci and busybox tar", ["busybox"]),
    archives: [
      archive("with ./", "busybox tar -cf - ."),
      archive("without ./", "busybox tar -cf - oci-layout index.json blobs"),
      archive("files alone", "busybox tar -cf - oci-layout index.json blobs/sha256/*"),
    ],
  },
  {
    ...makerOf("umoci, GNU tar and a compressor", ["tar", "busybox", "gzip", "zstd", "pzstd", "split"]),
    archives: [
      ...[
        "gzip",
        "gzip --fast --no-name",
        "busybox gzip",
        "split --bytes=9999 --filter='gzip'", // a member for each piece
        "zstd --quiet",
        "zstd --quiet --no-check -19",
        "zstd --quiet --fast --threads=2",
        "split --bytes=9999 --filter='zstd --quiet'", // a frame for each piece
      ].map((compressor) => archive(compressor, `tar -cf - . | ${compressor}`)),
      {
        ...archive("pzstd, a skippable frame before each frame", "tar -cf - . | pzstd --quiet"),
        unpack: "zstd -dcq image.tar | tar -xf - -C unpacked",
      },
    ],
  },
];

function makerOf(name: string, needs: readonly Tool[]): Pick<ArchiveMaker, "name" | "needs" | "prepare"> {
  return {
    name,
    needs: [...needs, "umoci", "skopeo"],
    prepare: async (workshop) => ({ LAYOUT: await workshop.smallLayout() }),
  };
}

/** In one format: with `./` and without, with directories and without, from the first name to the last and back. */
function packedBy(tar: "tar" | "bsdtar", format: string): AcceptedArchive[] {
  return [
    ["with ./ and directories", "find . | sort"],
    ["with ./, files alone", "find . -type f | sort -r"],
    ["without ./, with directories", "find * | sort -r"],
    ["without ./, files alone", "find * -type f | sort"],
  ].map(([title, names]) =>
    archive(`${format}, ${title}`, `${names} | ${tar} --format=${format} --no-recursion -cf - -T -`),
  );
}

/** `pack` runs in the layout. */
function archive(title: string, pack: string): AcceptedArchive {
  return { title, script: `cd $LAYOUT; ${pack}`, digests: skopeoDigest, puller: "skopeo" };
}
