/** Lists that do not fit on one page, by clients that have to follow the link to the next. */
import { beforeAll, describe, expect, it } from "vitest";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { indexKey } from "../../src/layout/keys.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import type { SetChange } from "../../src/oci/index-change.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { chunksOf } from "../support/bytes.ts";
import { joinLayouts, makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { withService } from "../support/serve-app.ts";
import { type Tool, missingTools } from "../tools/find-tool.ts";
import { runShell } from "../tools/run-tool.ts";

/** Each line prints the names, one a line, of what is at `$HOST`. */
interface Lister {
  readonly name: string;
  readonly needs: readonly Tool[];
  readonly line: string;
}

const regctl = "regctl --host reg=$HOST,tls=disabled";

const tagListers: readonly Lister[] = [
  { name: "crane ls", needs: ["crane"], line: "crane ls $HOST/team/app" },
  {
    name: "skopeo list-tags",
    needs: ["skopeo", "jq"],
    line: "skopeo list-tags --tls-verify=false docker://$HOST/team/app | jq -r '.Tags[]'",
  },
  { name: "oras repo tags", needs: ["oras"], line: "oras repo tags --plain-http $HOST/team/app" },
  { name: "regctl tag ls", needs: ["regctl"], line: `${regctl} tag ls $HOST/team/app` },
];

/** Without `regctl repo ls`, which shows one page and leaves the rest to `--last`. */
const repositoryListers: readonly Lister[] = [
  { name: "crane catalog", needs: ["crane"], line: "crane catalog $HOST" },
  { name: "oras repo ls", needs: ["oras"], line: "oras repo ls --plain-http $HOST" },
];

const discover =
  "oras discover --plain-http --depth 1 --format go-template --template '{{range .referrers}}{{.digest}}{{println}}{{end}}'";

const referrerListers: readonly Lister[] = [
  { name: "oras discover", needs: ["oras"], line: `${discover} $HOST/team/app:1.4` },
  {
    name: "oras discover --artifact-type",
    needs: ["oras"],
    line: `${discover} --artifact-type a/thing $HOST/team/app:1.4`,
  },
  {
    name: "regctl artifact list",
    needs: ["regctl"],
    line: `${regctl} artifact list --format '{{range .Descriptors}}{{.Digest}}{{println}}{{end}}' $HOST/team/app:1.4`,
  },
];

const image = makeLayout({ name: "team/app:1.4" });
const { mediaType = "", digest = "sha256:", size = 0 } = image.roots[0] ?? {};
const signatures = Array.from({ length: 230 }, (_, n) =>
  makeLayout({
    subject: { mediaType, digest, size },
    manifest: { artifactType: "a/thing", annotations: { n: `${n}` } },
  }),
);
const tags = Array.from({ length: 12_000 }, (_, i) => `v${String(i).padStart(6, "0")}`);

const repositories = Array.from({ length: 12_000 }, (_, i) => `many/${String(i).padStart(6, "0")}`);

describe("a list of several pages", () => {
  const store = new MemoryStore();
  beforeAll(async () => {
    const tarball = await tarOf(joinLayouts(image, ...signatures));
    await loadArchive(openLayout(store), chunksOf(tarball, 100_000), { name: "team/app" });
    const changes = tags.map((tag): SetChange => ({ op: "set", tag, mediaType, digest, size }));
    await updateRepository(openLayout(store), { repository: "team/app", changes });
    // That they are there is all that is asked of them.
    for (const name of repositories) await store.put(indexKey(name), Buffer.from("{}"));
  });

  async function ask({ line }: Lister): Promise<string[]> {
    let printed = "";
    await withService(store, async (url) => {
      printed = await runShell(line, { env: { HOST: new URL(url).host } });
    });
    return printed.split("\n").filter((name) => name !== "");
  }

  for (const lister of tagListers) {
    describeIfFound(`of tags, by ${lister.name}`, missingTools(["bash", ...lister.needs]), () => {
      it("is whole", async () => {
        expect((await ask(lister)).toSorted()).toEqual(["1.4", ...tags]);
      });
    });
  }

  for (const lister of repositoryListers) {
    describeIfFound(`of repositories, by ${lister.name}`, missingTools(["bash", ...lister.needs]), () => {
      it("is whole", async () => {
        expect((await ask(lister)).toSorted()).toEqual([...repositories, "team/app"]);
      });
    });
  }

  for (const lister of referrerListers) {
    describeIfFound(`of referrers, by ${lister.name}`, missingTools(["bash", ...lister.needs]), () => {
      it("is whole", async () => {
        expect((await ask(lister)).toSorted()).toEqual(signatures.map((signature) => signature.digest).toSorted());
      });
    });
  }
});
