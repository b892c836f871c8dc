/**
 * Archives in the form of tools that cannot be had where the tests run. They show that Stowage takes the form, not that the
 * tool writes it: that was looked up in archives which the tools had written elsewhere.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Layout, type TarOptions, makeLayout, tarOf, types } from "../support/layout.ts";
import { type AcceptedArchive, type ArchiveMaker, regctlDigests, skopeoDigest } from "./accepted-archive.ts";

interface Handmade extends Pick<AcceptedArchive, "title" | "digests" | "puller"> {
  readonly layout: Layout;
  readonly options?: TarOptions;
}

const platforms = ["linux/amd64", "linux/arm64"];
const manifestJson = { name: "manifest.json", bytes: Buffer.from("[]") };
const byName: TarOptions = { order: (entries) => entries.toSorted((a, b) => (a.name < b.name ? -1 : 1)) };

const handmade: readonly Handmade[] = [
  {
    title: "nerdctl save --all-platforms",
    layout: makeLayout({ name: "docker.io/team/app:1.4", refName: "1.4", platforms }),
    options: { ...byName, directories: true, extra: [manifestJson] },
    digests: regctlDigests("1.4"),
    puller: "crane",
  },
  {
    title: "linuxkit cache export --format oci, whose index.json calls a manifest an index",
    layout: makeLayout({ refName: "docker.io/linuxkit/init:v1", root: { mediaType: types.index } }),
    options: byName,
    digests: skopeoDigest,
    puller: "skopeo",
  },
  {
    title: "linuxkit cache export --format oci, of all platforms",
    layout: makeLayout({ refName: "docker.io/linuxkit/init:v1", platforms }),
    options: byName,
    digests: skopeoDigest,
    puller: "oras",
  },
];

export const handmadeArchives: readonly ArchiveMaker[] = [
  {
    name: "hand, in the form of other tools",
    needs: ["regctl", "skopeo"],
    prepare: async (workshop) => {
      const folder = await workshop.newFolder();
      for (const [i, { layout, options }] of handmade.entries()) {
        await writeFile(join(folder, String(i)), await tarOf(layout, options));
      }
      return { HANDMADE: folder };
    },
    archives: handmade.map(({ title, digests, puller }, i) => ({
      title,
      script: `cat $HANDMADE/${i}`,
      digests,
      puller,
    })),
  },
];
