import { cp, mkdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { StowageError } from "../../src/errors.ts";
import { blobKey } from "../../src/layout/keys.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { GetOptions, StoredObject } from "../../src/storage/object-store.ts";
import { verifyStore } from "../../src/verify/verify-store.ts";
import { randomBytes, stallAfter } from "../support/bytes.ts";
import { joinLayouts, makeLayout, tarOf, withBlob, withoutPlatform } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";
import { newFolder, stowage } from "../support/run-stowage.ts";

const image = makeLayout({ layers: [randomBytes(1000), randomBytes(2000, 2)], name: "docker.io/team/app:1.4" });
const index = makeLayout({ platforms: ["linux/amd64", "linux/arm64"], refName: "multi" });
const [layer = "sha256:", otherLayer = "sha256:"] = image.layers;

describe("stowage verify", () => {
  let whole: string;

  beforeAll(async () => {
    whole = await newFolder();
    const layout = withBlob(joinLayouts(image, withoutPlatform(index, 1)), randomBytes(500, 3));
    await stowage(["load", "-", "--store", `file:${whole}`], { input: await tarOf(layout) });
    await stowage(["load", "-", "other/name:2", "--store", `file:${whole}`], { input: await tarOf(image) });
  });

  it("finds nothing wrong with what was loaded", async () => {
    const { code, stdout } = await stowage(["verify", "--store", `file:${whole}`]);
    expect(stdout).toMatch(/^All is well in file:\S+: 3 images in 3 repositories, 12 blobs \(.* KiB\)\n/);
    // The bytes that no manifest names, and what the platform that is absent left behind.
    expect(stdout).toMatch(/\n3 blobs \(\d+ bytes\) belong to no image: no problem, but space\n$/);
    expect(code).toBe(0);
  });

  it("counts no repository whose images are gone", async () => {
    const cwd = await newFolder();
    await stowage(["load", "-", "team/app:1"], { cwd, input: await tarOf(makeLayout()) });
    await stowage(["rm", "team/app"], { cwd });
    expect((await stowage(["verify"], { cwd })).stdout).toContain("0 images in 0 repositories");
  });

  it("finds nothing wrong with an empty store, and with files that it does not know", async () => {
    const cwd = await newFolder();
    await mkdir(join(cwd, "data"));
    await writeFile(join(cwd, "data/oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    await writeFile(join(cwd, "data/README"), "mine");
    const { code, stdout } = await stowage(["verify"], { cwd });
    expect(stdout).toBe("All is well in file:./data: 0 images in 0 repositories, 0 blobs (0 bytes)\n");
    expect(code).toBe(0);
  });

  const damages: readonly (readonly [string, (store: string) => Promise<void>, readonly string[]])[] = [
    [
      "a byte that was flipped",
      async (store) => flipByte(pathOf(store, layer)),
      [
        `${keyOf(layer)}: its 1000 bytes have the digest sha256:[0-9a-f]{64}`,
        `other/name:2: it needs ${layer}, which is damaged`,
        `team/app:1.4: it needs ${layer}, which is damaged`,
      ],
    ],
    [
      "a blob that was cut short",
      async (store) => truncate(pathOf(store, layer), 10),
      [
        `${keyOf(layer)}: its 10 bytes have the digest sha256:[0-9a-f]{64}`,
        `other/name:2: it needs ${layer}, which is damaged`,
        `team/app:1.4: it needs ${layer}, which is damaged`,
      ],
    ],
    [
      "a layer that is missing",
      async (store) => rm(pathOf(store, otherLayer)),
      [
        `other/name:2: it needs ${otherLayer}, which is missing`,
        `team/app:1.4: it needs ${otherLayer}, which is missing`,
      ],
    ],
    [
      "a manifest that is missing",
      async (store) => rm(pathOf(store, index.digest)),
      [`images:multi: it needs ${index.digest}, which is missing`],
    ],
    [
      "an index that is no JSON",
      async (store) => writeFile(join(store, "index.json"), "{"),
      ['index.json: Cannot read the index "index.json" in the store: .*'],
    ],
    [
      "an index that names the wrong size",
      async (store) => replaceInFile(join(store, "index.json"), /"size":\d+/, '"size":7'),
      [`images:multi: it needs ${index.digest} with 7 bytes, found \\d+ bytes`],
    ],
    [
      "objects among the blobs that are none",
      async (store) => {
        await writeFile(join(store, "blobs/sha256/note"), "x");
        await mkdir(join(store, "blobs/md5"));
        await writeFile(join(store, "blobs/md5/aa"), "x");
      },
      ["blobs/md5/aa: its name is not a digest", "blobs/sha256/note: its name is not a digest"],
    ],
  ];

  it.each(damages)("lists %s and exits with 1", async (_, damage, problems) => {
    const store = await newFolder();
    await cp(whole, store, { recursive: true });
    await damage(store);
    const { code, stdout } = await stowage(["verify", "--store", `file:${store}`]);
    const lines = stdout.trimEnd().split("\n");
    const summaryAt = lines.findIndex((line) => line.startsWith("Found "));
    expect(lines.slice(0, summaryAt).toSorted()).toEqual(
      problems.map((line) => expect.stringMatching(`^${line}$`) as unknown),
    );
    expect(lines[summaryAt]).toMatch(
      new RegExp(`^Found ${problems.length} problems? in file:.*: checked \\d images? in 3 rep`),
    );
    expect(code).toBe(1);
  });

  it("says what to do with an index that cannot be read", async () => {
    const store = await newFolder();
    await cp(whole, store, { recursive: true });
    await writeFile(join(store, "index.json"), "{");
    const { stdout } = await stowage(["verify", "--store", `file:${store}`]);
    expect(stdout).toMatch(/^An index that cannot be read hides its images: put back a copy of it, or delete it/m);
  });

  it("lists every blob that an image lacks, with the images that need it, and how to repair them", async () => {
    const store = await newFolder();
    await cp(whole, store, { recursive: true });
    const url = `file:${store}`;
    await flipByte(pathOf(store, layer));
    await rm(pathOf(store, otherLayer));
    const manifest = index.manifests[0] ?? "sha256:";
    await flipByte(pathOf(store, manifest), 10);

    const { code, stdout } = await stowage(["verify", "--store", url]);
    const lines = stdout.trimEnd().split("\n");
    const isLine = (line: string): unknown => expect.stringMatching(new RegExp(`^${line}$`));
    expect(lines.filter((line) => !line.startsWith("blobs/"))).toEqual([
      isLine(`images:multi: it needs ${manifest}, which is damaged`),
      isLine(`other/name:2: it needs (${layer}, which is damaged|${otherLayer}, which is missing|, ){3}`),
      isLine(`team/app:1.4: it needs (${layer}, which is damaged|${otherLayer}, which is missing|, ){3}`),
      isLine("Found 5 problems in .*"),
      `${manifest} is damaged: images:multi needs it`,
      ...[`${layer} is damaged`, `${otherLayer} is missing`]
        .map((what) => `${what}: other/name:2, team/app:1.4 need it`)
        .toSorted((a, b) => lines.indexOf(a) - lines.indexOf(b)),
      `To repair them load a tarball of these images: stowage load --repair FILE --store ${url}`,
    ]);
    expect(code).toBe(1);
    const report = JSON.parse((await stowage(["verify", "--json", "--store", url])).stdout) as { lacked: unknown[] };
    expect(report.lacked).toContainEqual({
      digest: layer,
      state: "damaged",
      images: ["other/name:2", "team/app:1.4"],
    });

    const tarball = join(await newFolder(), "images.tar");
    await writeFile(tarball, await tarOf(joinLayouts(image, withoutPlatform(index, 1))));
    const repaired = await stowage(["load", "--repair", tarball, "--store", url]);
    expect(repaired.stdout).toContain("2 repaired");
    expect((await stowage(["verify", "--store", url])).code).toBe(0);
  });

  it("prints a report as JSON with --json", async () => {
    const store = await newFolder();
    await cp(whole, store, { recursive: true });
    await rm(pathOf(store, index.digest));
    const { code, stdout } = await stowage(["verify", "--json", "--store", `file:${store}`]);
    expect(JSON.parse(stdout)).toMatchObject({
      repositories: 3,
      images: 3,
      blobs: 11,
      problems: [
        { where: "images:multi", code: "MANIFEST_BLOB_UNKNOWN", message: `it needs ${index.digest}, which is missing` },
      ],
    });
    expect(code).toBe(1);
  });

  it("takes no arguments", async () => {
    expect(await stowage(["verify", "x"])).toMatchObject({ code: 2, stdout: "" });
  });
});

describe("verifyStore", () => {
  it("ends with the signal's reason while a blob stalls", async () => {
    const controller = new AbortController();
    const store = new OddStore(async () => ({ ...object, body: stallAfter(randomBytes(10)) }));
    await store.put(blobKey(layer), randomBytes(1000));
    const onBytes = (): void => void setTimeout(() => controller.abort(new Error("enough")), 20);
    const verified = verifyStore(openLayout(store), { signal: controller.signal, onBytes });
    await expect(verified).rejects.toThrow("enough");
  });

  it("reports blobs that cannot be read, but not a store of which none can", async () => {
    const store = new OddStore(async () => {
      throw new StowageError("STORE_UNAVAILABLE", "the disk is broken");
    });
    for (let i = 0; i < 100; i++) await store.put(blobKey(`sha256:${hexOf(i)}`), randomBytes(1));
    const { problems } = await verifyStore(openLayout(store));
    expect(problems).toHaveLength(100);
    expect(problems[0]).toEqual({
      where: keyOf(`sha256:${hexOf(0)}`),
      code: "STORE_UNAVAILABLE",
      message: "the disk is broken",
    });

    await store.put(blobKey(`sha256:${hexOf(100)}`), randomBytes(1));
    await expect(verifyStore(openLayout(store))).rejects.toThrow("the disk is broken");
  });
});

const object = { key: keyOf(layer), size: 1000, etag: "1" };

/** A store whose blobs are read in another way. */
class OddStore extends MemoryStore {
  readonly #getBlob: () => Promise<StoredObject>;

  constructor(getBlob: () => Promise<StoredObject>) {
    super();
    this.#getBlob = getBlob;
  }

  override async get(key: string, options?: GetOptions): Promise<StoredObject | undefined> {
    return key.startsWith("blobs/") ? this.#getBlob() : super.get(key, options);
  }
}

function hexOf(number: number): string {
  return number.toString(16).padStart(64, "0");
}

function keyOf(digest: Digest): string {
  return `blobs/${digest.replace(":", "/")}`;
}

function pathOf(store: string, digest: Digest): string {
  return join(store, keyOf(digest));
}

async function flipByte(path: string, position = 500): Promise<void> {
  const bytes = await readFile(path);
  bytes[position] = (bytes[position] ?? 0) ^ 1;
  await writeFile(path, bytes);
}

async function replaceInFile(path: string, pattern: RegExp, replacement: string): Promise<void> {
  await writeFile(path, (await readFile(path, "utf8")).replace(pattern, replacement));
}
