import { Buffer } from "node:buffer";
import type { Dirent } from "node:fs";
import { cp, lstat, mkdir, mkdtemp, readFile, readdir, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { StowageError } from "../../src/errors.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { guarded } from "../../src/storage/directory/file-errors.ts";
import { etagOf, inChunks, keyOf, listAll, read, source, text } from "./contract-objects.ts";
import { describeStoreContract } from "./contract.ts";

describeStoreContract("DirectoryStore", async () => {
  const root = await mkdtemp(join(tmpdir(), "stowage-directory-"));
  return {
    store: new DirectoryStore(root),
    reopen: () => new DirectoryStore(root),
    leftovers: () => leftovers(root),
    damage: async (key, bytes) => {
      await mkdir(dirname(join(root, key)), { recursive: true });
      await writeFile(join(root, key), bytes);
    },
    close: () => rm(root, { recursive: true }),
  };
});

describe("DirectoryStore", () => {
  let root: string;
  let store: DirectoryStore;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "stowage-directory-"));
    store = new DirectoryStore(root);
  });

  afterEach(() => rm(root, { recursive: true }));

  /** Writes the states one after the other and returns the last ETag. */
  async function write(key: string, ...states: readonly string[]): Promise<string> {
    let etag: string | undefined;
    for (const state of states) {
      etag = etagOf(await store.put(key, text(state), { condition: etag === undefined ? "absent" : { etag } }));
    }
    return etag ?? "";
  }

  /** Creates a blob and returns its key. */
  async function putBlob(bytes: Uint8Array): Promise<string> {
    etagOf(await store.put(keyOf(bytes), bytes, { condition: "absent" }));
    return keyOf(bytes);
  }

  /** The only version of the index that there is. */
  async function newestVersion(): Promise<string> {
    const folder = join(root, ".stowage/versions/.index.json");
    const names = await readdir(folder);
    expect(names).toHaveLength(1);
    return join(folder, names[0] ?? "");
  }

  async function versionAfter(): Promise<string> {
    const newest = await newestVersion();
    return join(dirname(newest), String(Number(basename(newest)) + 1));
  }

  it.each([".stowage", "blobs", ".stowage/tmp", "."])(
    "goes on if somebody removes %s, as one who removes empty folders may",
    async (folder) => {
      await write("index.json", "one", "two");
      await putBlob(text("a blob"));
      await rm(join(root, folder), { recursive: true });
      const streamed = text("a third");
      const condition = "absent";
      expect((await store.write(keyOf(streamed), source(streamed, 3), { condition })).outcome).toBe("written");
      const key = await putBlob(text("another"));
      expect(await read(await store.get(key))).toEqual(text("another"));
      await write("other.json", "one", "two");
    },
  );

  it("lists what lies below a link to a folder, and is not led around in a circle", async () => {
    await write("repositories/team/app/_layout/index.json", "one");
    await rename(join(root, "repositories/team"), join(root, "moved"));
    await symlink("../moved", join(root, "repositories/team"));
    await symlink("..", join(root, "moved/again"));
    await symlink(".", join(root, "repositories/same"));
    await symlink("nowhere", join(root, "repositories/gone"));
    const key = "repositories/team/app/_layout/index.json";
    expect(await read(await store.get(key))).toEqual(text("one"));
    const keys = (await listAll(store, "repositories/")).map((found) => found.key);
    expect(keys).toEqual([key]);
  });

  it("names the newest version of an object if a link is in its place", async () => {
    await write("index.json", "one", "two");
    const path = await newestVersion();
    await rm(path);
    await symlink("elsewhere", path);
    const named: unknown = expect.stringContaining(path);
    await expect(store.head("index.json")).rejects.toMatchObject({ code: "STORE_DAMAGED", message: named });
    await expect(store.get("index.json")).rejects.toMatchObject({ code: "STORE_DAMAGED" });
    await expect(write("index.json", "three")).rejects.toMatchObject({ code: "STORE_DAMAGED" });
  });

  it("is a plain layout for other tools", async () => {
    const blob = await putBlob(text("a blob"));
    await write("oci-layout", "{}");
    await write("index.json", "one", "two", "three");
    expect((await readdir(root)).toSorted()).toEqual([".stowage", "blobs", "index.json", "oci-layout"]);
    expect(await readFile(join(root, "index.json"), "utf8")).toBe("three");
    expect(await readFile(join(root, blob), "utf8")).toBe("a blob");
  });

  it("takes on a layout that another tool has written", async () => {
    await writeFile(join(root, "index.json"), "theirs");
    const before = await store.get("index.json");
    expect(await read(before)).toEqual(text("theirs"));
    expect(await store.put("index.json", text("ours"), { condition: "absent" })).toBe("conflict");
    etagOf(await store.put("index.json", text("ours"), { condition: { etag: before?.etag ?? "" } }));
    expect(await readFile(join(root, "index.json"), "utf8")).toBe("ours");
  });

  it("can be copied with any tool, with or without its own folder", async () => {
    const etag = await write("index.json", "one", "two");
    const copy = join(root, "copy");
    await cp(join(root, ".stowage"), join(copy, ".stowage"), { recursive: true });
    await cp(join(root, "index.json"), join(copy, "index.json"));
    for (const remove of [() => Promise.resolve(), () => rm(join(copy, ".stowage"), { recursive: true })]) {
      await remove();
      const copied = await new DirectoryStore(copy).get("index.json");
      expect(await read(copied)).toEqual(text("two"));
      expect(copied?.etag).not.toBe(etag);
    }
  });

  it("keeps one version of what is swapped again and again", async () => {
    await write("index.json", ...Array.from({ length: 30 }, (_, i) => `state ${i}`));
    const [version, plain] = [await newestVersion(), join(root, "index.json")];
    expect((await stat(version)).ino, "the plain file is the version").toBe((await stat(plain)).ino);
  });

  it("shows the state of a process that was killed after it had won, and the next swap to other tools", async () => {
    await write("index.json", "one", "two");
    const next = await versionAfter();
    await writeFile(next, "three");
    await writeFile(`${next}.unfinished`, "of the killed process");
    expect(await readFile(join(root, "index.json"), "utf8")).toBe("two");
    const object = await store.get("index.json");
    expect(await read(object)).toEqual(text("three"));
    expect(await listAll(store, "")).toEqual([{ key: "index.json", size: 5, etag: object?.etag }]);
    etagOf(await store.put("index.json", text("four"), { condition: { etag: object?.etag ?? "" } }));
    expect(await readFile(join(root, "index.json"), "utf8")).toBe("four");
    expect(await readFile(await newestVersion(), "utf8")).toBe("four");
  });

  it("deletes the state of a process that was killed after it had won", async () => {
    await write("index.json", "one", "two");
    await writeFile(await versionAfter(), "three");
    await store.delete("index.json");
    expect(await store.head("index.json")).toBeUndefined();
    expect(await readdir(root)).toEqual([".stowage"]);
    await write("index.json", "four", "five");
    expect(await readFile(join(root, "index.json"), "utf8")).toBe("five");
    expect(await leftovers(root)).toEqual([]);
  });

  it.each(["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".stowage/tmp/a", "a\\b", "a\0b"])(
    "refuses the key %j",
    async (key) => {
      const refused = { code: "INPUT_INVALID" };
      await expect(store.head(key)).rejects.toMatchObject(refused);
      await expect(store.get(key)).rejects.toMatchObject(refused);
      await expect(store.delete(key)).rejects.toMatchObject(refused);
      for (const condition of [undefined, "absent", { etag: "1" }] as const) {
        await expect(store.put(key, text("1"), { condition })).rejects.toMatchObject(refused);
        await expect(store.write(key, source(text("1")), { condition })).rejects.toMatchObject(refused);
        await expect(store.copy("a", key, { size: 1, condition })).rejects.toMatchObject(refused);
      }
      await expect(store.copy(key, "a", { size: 1 })).rejects.toMatchObject(refused);
      expect(await readdir(root)).toEqual([]);
    },
  );

  it("lists neither its own files nor what lies outside", async () => {
    await write("a/b", "one", "two");
    await writeFile(join(root, ".hidden"), "");
    await writeFile(join(root, "a/.hidden"), "");
    expect((await listAll(store, "")).map(({ key }) => key)).toEqual(["a/b"]);
    for (const prefix of [".", ".stowage/", "../", "a/../", "/"]) expect(await listAll(store, prefix)).toEqual([]);
  });

  it("lists in the order of UTF-8 bytes, not of UTF-16 units", async () => {
    for (const key of ["\u{1f600}", "\uff5e", "z"]) await write(key, key);
    expect((await listAll(store, "")).map(({ key }) => key)).toEqual(["z", "\uff5e", "\u{1f600}"]);
  });

  it.each([
    ["shorter", "hell", "received 4 bytes, expected 5"],
    ["longer", "hello!", "received more than 5 bytes, expected 5"],
  ])("stores nothing whose body is %s than its size", async (_, body, message) => {
    await expect(store.write("object", { size: 5, body: inChunks(text(body), 2) })).rejects.toMatchObject({
      code: "SIZE_INVALID",
      message: `Cannot store "object": ${message}`,
    });
    expect(await listAll(store, "")).toEqual([]);
    expect(await leftovers(root)).toEqual([]);
  });

  it("tells the failure of a body that reads a file from its own", async () => {
    const error = Object.assign(new Error("EIO: i/o error, read"), { code: "EIO", syscall: "read" });
    // oxlint-disable-next-line require-yield
    async function* body(): AsyncGenerator<Uint8Array> {
      await Promise.resolve();
      throw error;
    }
    await expect(store.write("object", { size: 5, body: body() })).rejects.toBe(error);
  });

  it("says what it could not do, and where", async () => {
    const file = join(root, "file");
    await writeFile(file, "");
    const inFile = new DirectoryStore(file);
    expect(await inFile.head("index.json")).toBeUndefined();
    const expected = {
      name: "StowageError",
      code: "STORE_UNAVAILABLE",
      message: expect.stringMatching(/^Cannot write "index.json" in file:.*\/file: E[A-Z]+: [a-z ]+$/) as unknown,
    };
    await expect(inFile.put("index.json", text("1"))).rejects.toMatchObject(expected);
    // A refusal is an answer: nothing of the write was done.
    await expect(inFile.put("index.json", text("1"), { condition: "absent" })).rejects.toMatchObject(expected);
  });

  it("has as many files and folders as before once what came is deleted", async () => {
    const names = async (): Promise<string[]> => (await readdir(root, { recursive: true })).toSorted();
    await write("index.json", "one", "two");
    await putBlob(text("stays"));
    const before = await names();
    const keys = ["condemned/1", "intents/team/app/_layout/1", "staging/1", "repositories/a/_layout/index.json"];
    for (const key of keys) await write(key, "one", "two", "three");
    const blob = await putBlob(text("goes"));
    for (const key of [...keys, blob]) await store.delete(key);
    expect(await listAll(store, "condemned/")).toEqual([]);

    const later = vi.spyOn(Date, "now").mockReturnValue(Date.now() + 2 * 60 * 60 * 1000);
    for (const key of keys) {
      await write(key, "one", "two");
      await store.delete(key); // long after its first swap: nothing is left
    }
    later.mockRestore();
    expect(await names()).toEqual(before);
  });

  it("sweeps what deletions have left, once they are an hour old, before it first writes", async () => {
    await write("staging/probe", "one", "two");
    await write("condemned/1", "one", "two");
    await store.delete("staging/probe");
    await store.delete("condemned/1");
    expect(await readdir(join(root, ".stowage/versions"))).toEqual(["condemned", "staging"]);
    await new DirectoryStore(root).put("staging/1", text("too early"));
    expect(await readdir(join(root, ".stowage/versions"))).toEqual(["condemned", "staging"]);
    const later = vi.spyOn(Date, "now").mockReturnValue(Date.now() + 2 * 60 * 60 * 1000);
    await new DirectoryStore(root).put("staging/1", text("in time"));
    later.mockRestore();
    expect(await readdir(join(root, ".stowage/versions"))).toEqual([]);
  });

  it("keeps the folders of blobs and of incoming tarballs", async () => {
    const blob = await putBlob(text("a blob"));
    await mkdir(join(root, "incoming/team"), { recursive: true });
    await writeFile(join(root, "incoming/team/app.tar"), "");
    await store.delete(blob);
    await store.delete("incoming/team/app.tar");
    expect(await readdir(join(root, "blobs/sha256"))).toEqual([]);
    expect(await readdir(join(root, "incoming/team"))).toEqual([]);
  });

  it("loses no write to somebody who removes empty folders", async () => {
    const other = new DirectoryStore(root);
    const work = async (name: string): Promise<void> => {
      for (let i = 0; i < 100; i++) {
        await write(`intents/${name}/1`, "one", "two");
        await other.delete(`intents/${name}/1`);
      }
    };
    await Promise.all(["a", "a/b", "a/b/c", "d"].map(work));
    expect(await listAll(store, "")).toEqual([]);
  });

  describe("follows no link", () => {
    const secret = text("not of this store");
    const bytes = text("the blob itself");
    const blob = keyOf(bytes);
    let outside: string;
    beforeEach(async () => {
      outside = join(root, "outside");
      store = new DirectoryStore(join(root, "store"));
      await writeFile(outside, secret);
      await mkdir(join(root, "store/blobs/sha256"), { recursive: true });
    });

    async function linkAt(key: string): Promise<string> {
      const path = join(root, "store", key);
      await symlink(outside, path);
      return path;
    }

    it("to read or to list a blob", async () => {
      await linkAt(blob);
      expect(await store.head(blob)).toBeUndefined();
      expect(await store.get(blob)).toBeUndefined();
      expect(await listAll(store, "blobs/")).toEqual([]);
    });

    it.each(["put", "write", "copy"] as const)("to write a blob (%s): the blob replaces the link", async (method) => {
      const path = await linkAt(blob);
      await store.put("staging/1", bytes);
      const condition = "absent";
      if (method === "put") etagOf(await store.put(blob, bytes, { condition }));
      else {
        const size = bytes.length;
        const writing =
          method === "write"
            ? store.write(blob, source(bytes), { condition })
            : store.copy("staging/1", blob, { size, condition });
        expect((await writing).outcome).toBe("written");
      }
      expect((await lstat(path)).isFile()).toBe(true);
      expect(await read(await store.get(blob))).toEqual(bytes);
      expect(await readFile(outside)).toEqual(Buffer.from(secret));
    });

    it("to write an index: it says what it found", async () => {
      await linkAt("index.json");
      await expect(store.put("index.json", text("{}"), { condition: "absent" })).rejects.toMatchObject({
        code: "STORE_DAMAGED",
        message: expect.stringContaining("found a link or a folder there, expected a file") as unknown,
      });
      expect(await readFile(outside)).toEqual(Buffer.from(secret));
    });
  });

  it("says at once that a folder takes no other", async ({ skip }) => {
    if (process.platform !== "linux") skip("there is no /proc");
    const inProc = new DirectoryStore("/proc/stowage");
    await expect(inProc.put("staging/1", text("1"))).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringContaining("ENOENT") as unknown,
    });
  });

  it("refuses to be opened without a path", () => {
    expect(() => new DirectoryStore("")).toThrow(StowageError);
  });

  it("closes every file that it opens", async ({ skip }) => {
    const openFiles = async () => (await readdir("/proc/self/fd")).length;
    await openFiles().catch(() => skip("this system does not say which files are open"));
    const blob = await putBlob(new Uint8Array(1_000_000));
    await write("empty", "");
    const before = await openFiles();
    for (let i = 0; i < 20; i++) {
      await read(await store.get(blob));
      await read(await store.get("empty"));
      for await (const _ of (await store.get(blob))?.body ?? []) break;

      const neverBegun = (await store.get(blob))?.body[Symbol.asyncIterator]();
      await neverBegun?.return?.();

      const range = { start: 0, end: 9 };
      const readExactly = (await store.get(blob, { range }))?.body[Symbol.asyncIterator]();
      expect((await readExactly?.next())?.value).toHaveLength(10);
    }
    expect(await openFiles()).toBeLessThan(before + 20);
  });
});

describe("guarded", () => {
  it("says that a file system without hard links cannot hold a store", async () => {
    const error = Object.assign(new Error("EPERM: operation not permitted, link 'a' -> 'b'"), {
      code: "EPERM",
      syscall: "link",
    });
    await expect(guarded('write "a" in file:./data', () => Promise.reject(error))).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: 'Cannot write "a" in file:./data: EPERM: operation not permitted; a store needs hard links',
      cause: error,
    });
  });

  it.each(["link", "rename"])("says that a store has to lie on one file system (%s)", async (syscall) => {
    const error = Object.assign(new Error(`EXDEV: cross-device link not permitted, ${syscall} 'a' -> 'b'`), {
      code: "EXDEV",
      syscall,
    });
    await expect(guarded('write "a" in file:./data', () => Promise.reject(error))).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringMatching(/EXDEV.*; a store has to lie on one file system/) as unknown,
    });
  });

  it.each(["ENOSPC", "EDQUOT"])("names a full disk (%s)", async (code) => {
    const error = Object.assign(new Error(`${code}: no room, write`), { code, syscall: "write" });
    await expect(guarded('write "a" in file:./data', () => Promise.reject(error))).rejects.toMatchObject({
      code: "STORE_FULL",
      message: `Cannot write "a" in file:./data: the disk is full (${code}: no room)`,
    });
  });
});

/** Files under `.stowage` that are no object's newest version. */
async function leftovers(root: string): Promise<string[]> {
  const entries = await readdir(join(root, ".stowage"), { recursive: true, withFileTypes: true }).catch(() => []);
  const isReserve = ({ name, parentPath }: Dirent): boolean =>
    join(parentPath, name) === join(root, ".stowage/reserve");
  const files = entries
    .filter((entry) => entry.isFile() && !isReserve(entry))
    .map(({ name, parentPath }) => ({ name, folder: parentPath }));
  return files
    .filter(({ name, folder }) => {
      const siblings = files.filter((file) => file.folder === folder).map((file) => Number(file.name));
      return !(Number(name) > 0 && Number(name) === Math.max(...siblings.filter((number) => number > 0)));
    })
    .map(({ name, folder }) => join(folder, name));
}
