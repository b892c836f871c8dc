import { execFile } from "node:child_process";
import { type FileHandle, link, mkdir, open, readFile, symlink, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { extract } from "tar-stream";
import { afterAll, describe, expect, it } from "vitest";
import type { Content } from "../../src/cli/send/content.ts";
import { makeContent } from "../../src/cli/send/make-content.ts";
import { scanArchive } from "../../src/cli/send/scan-input.ts";
import { openTemporaryFile } from "../../src/cli/send/temporary-file.ts";
import { chunksOf, randomBytes, readAll, sha256 } from "../support/bytes.ts";
import { rawTar } from "../support/raw-tar.ts";
import { listFiles, newFolder } from "../support/run-stowage.ts";

const run = promisify(execFile);
const handles: FileHandle[] = [];
afterAll(async () => Promise.all(handles.map(async (handle) => handle.close())));

const blobs = [randomBytes(300_000, 1), randomBytes(5000, 2), randomBytes(512, 3)];
const [large = "", middle = "", small = ""] = blobs.map(sha256);

/** A layout with all that a tar can hold: long names, links, directories. */
async function makeFolder(): Promise<string> {
  const folder = await newFolder();
  const files: readonly (readonly [string, Uint8Array])[] = [
    ...blobs.map((bytes) => [`blobs/${sha256(bytes).replace(":", "/")}`, bytes] as const),
    ["index.json", Buffer.from("{}")],
    [`${"long/".repeat(50)}näme`, randomBytes(700, 4)],
    ["empty", new Uint8Array()],
  ];
  for (const [path, bytes] of files) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), bytes);
  }
  await symlink(`blobs/${large.replace(":", "/")}`, join(folder, "symbolic"));
  await symlink("long/".repeat(60), join(folder, "to a long name"));
  await link(join(folder, "index.json"), join(folder, "zz-hard"));
  return folder;
}

async function contentOf(bytes: Uint8Array, present: readonly string[]): Promise<Content> {
  const path = join(await newFolder(), "archive");
  await writeFile(path, bytes);
  const file = await open(path);
  handles.push(file);
  const entries = await scanArchive(chunksOf(bytes, 65_536));
  const openTemporary = async () => {
    const temporary = await openTemporaryFile({ TMPDIR: dirname(path) });
    handles.push(temporary.handle);
    return temporary;
  };
  const content = await makeContent(
    { file, size: bytes.length, entries },
    { present: new Set(present), openTemporary },
  );
  expect(await listFiles(dirname(path))).toEqual(["archive"]);
  return content;
}

/** What a tar holds: a line for each entry. */
async function listTar(tar: Uint8Array): Promise<string[]> {
  const entries: string[] = [];
  const reader = Readable.from(chunksOf(tar, 65_536)).pipe(extract());
  for await (const entry of reader) {
    const { name, type, linkname } = entry.header;
    entries.push([name, type, linkname ?? "", sha256(await readAll(Readable.from(entry)))].join(" "));
  }
  return entries;
}

const without = (lines: readonly string[], ...digests: readonly string[]): string[] =>
  lines.filter((line) => !digests.some((digest) => line.split(" ")[0]?.endsWith(digest.slice("sha256:".length))));

describe("makeContent", () => {
  it.each(["gnu", "pax", "oldgnu"])(
    "takes over all but the blobs that are there, from tar's format %s",
    async (format) => {
      const path = join(await newFolder(), "a.tar");
      await run("tar", [`--format=${format}`, "--sort=name", "-C", await makeFolder(), "-cf", path, "."]);
      const tar = await readFile(path);
      const all = await listTar(tar);
      for (const present of [[], [large], [large, middle, small]]) {
        const plain = await contentOf(tar, present);
        const bytes = await readAll(plain.read());
        expect(bytes).toHaveLength(plain.size);
        expect(await listTar(bytes)).toEqual(without(all, ...present));
        const compressed = await contentOf(gzipSync(tar), present);
        const isTar = present.length > 0;
        expect(await readAll(compressed.read())).toEqual(isTar ? bytes : gzipSync(tar));
        expect((await compressed.fingerprint()) === (await plain.fingerprint())).toBe(isTar);
      }
    },
  );

  it("takes an entry of an unknown type for an entry, as a load does", async () => {
    const bytes = randomBytes(5000, 2);
    const blob = { name: `blobs/${sha256(bytes).replace(":", "/")}`, bytes };
    const tar = rawTar([blob, { name: "old", type: "N", bytes: randomBytes(700, 5) }, { name: "index.json", bytes }]);
    const content = await contentOf(tar, [sha256(bytes)]);
    const all = await scanArchive(chunksOf(tar, 65_536));
    expect(await scanArchive(content.read())).toEqual(all.slice(1));
  });

  it("reads any part again", async () => {
    const path = join(await newFolder(), "a.tar");
    await run("tar", ["-C", await makeFolder(), "-cf", path, "."]);
    const content = await contentOf(await readFile(path), [middle]);
    const bytes = await readAll(content.read());
    for (const partBytes of [1000, 4096, 100_001, content.size]) {
      for (let at = 0; at < content.size; at += partBytes) {
        const end = Math.min(at + partBytes, content.size);
        expect((await readAll(content.read(at, end))).equals(bytes.subarray(at, end))).toBe(true);
      }
    }
  });

  it("makes the same bytes of the same files, whenever the archive was made, and others of others", async () => {
    const folder = await makeFolder();
    const pack = async (): Promise<Content> => {
      const path = join(await newFolder(), "a.tar");
      await run("tar", ["--format=gnu", "--sort=name", "-C", folder, "-cf", path, "."]);
      return contentOf(await readFile(path), [large]);
    };
    const first = await pack();
    await utimes(join(folder, "index.json"), 1, 1);
    await utimes(join(folder, "blobs"), 1, 1);
    const second = await pack();
    expect(await second.fingerprint()).toBe(await first.fingerprint());
    expect(await readAll(second.read())).toEqual(await readAll(first.read()));
    await writeFile(join(folder, "index.json"), "[]");
    expect(await (await pack()).fingerprint()).not.toBe(await first.fingerprint());
  });

  it("takes a blob that the archive has twice once", async () => {
    const folder = await makeFolder();
    const path = join(await newFolder(), "a.tar");
    const name = `blobs/${large.replace(":", "/")}`;
    await run("tar", ["--hard-dereference", "-C", folder, "-cf", path, "index.json", name, name]);
    const content = await contentOf(await readFile(path), []);
    expect(await listTar(await readAll(content.read()))).toHaveLength(2);
  });
});
