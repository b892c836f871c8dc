/** A directory store that several processes share, some of which are killed. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Digest, isDigest } from "../../src/digest.ts";
import { blobKey } from "../../src/layout/keys.ts";
import { type JsonObject, isJsonObject } from "../../src/oci/json.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { buildStowage } from "../support/build.ts";
import { digestOf, etagOf, listAll, read, text } from "./contract-objects.ts";

const childScript = fileURLToPath(new URL("directory-child.mjs", import.meta.url));
const storeModule = fileURLToPath(new URL("../../dist/storage/directory/directory-store.js", import.meta.url));
const key = "repositories/team/app/_layout/index.json";

describe("DirectoryStore, shared by processes", { timeout: 60_000 }, () => {
  let root: string;
  let store: DirectoryStore;
  const children = new Set<Child>();

  beforeAll(async () => {
    await buildStowage();
  });

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "stowage-processes-"));
    store = new DirectoryStore(root);
  });

  afterEach(async () => {
    await Promise.all([...children].map((child) => child.kill()));
    children.clear();
    await rm(root, { recursive: true });
  });

  function start(task: Task): Child {
    const child = new Child(root, task);
    children.add(child);
    return child;
  }

  /** The object under `key`, as each process has counted in it. */
  async function counts(): Promise<Record<string, number>> {
    const json = parseObject(new TextDecoder().decode(await read(await store.get(key))));
    return Object.fromEntries(Object.entries(json).map(([id, count]) => [id, Number(count)]));
  }

  it("loses no increment of 8 processes", async () => {
    await store.put(key, text("{}"), { condition: "absent" });
    const all = Array.from({ length: 8 }, (_, i) => start({ name: "increment", key, id: `p${i}`, times: 50 }));
    await Promise.all(all.map((child) => child.begin()));
    await Promise.all(all.map((child) => child.ended));
    expect(await counts()).toEqual(Object.fromEntries(all.map((_, i) => [`p${i}`, 50])));
    expect(await unfinishedFiles(root)).toEqual([]);
    expect(await versionsOf(root)).toHaveLength(1);
  });

  it("lets one of 8 processes create an object", async () => {
    const all = Array.from({ length: 8 }, (_, i) => start({ name: "create", key, id: `p${i}` }));
    await Promise.all(all.map((child) => child.begin()));
    await Promise.all(all.map((child) => child.ended));
    const winners = all.flatMap((child, i) => (child.said.some(({ won }) => won === true) ? [`p${i}`] : []));
    expect(winners).toHaveLength(1);
    expect(JSON.parse(await readFile(join(root, key), "utf8"))).toEqual({ winner: winners[0] });
    expect(await unfinishedFiles(root)).toEqual([]);
  });

  it("keeps what it acknowledged, and goes on at once, when processes are killed", async () => {
    await store.put(key, text("{}"), { condition: "absent" });
    const killed: Child[] = [];
    for (let round = 0; round < 5; round++) {
      const swappers = [0, 1, 2].map((i) => start({ name: "increment", key, id: `p${round}-${i}`, times: 1e9 }));
      const storers = [start({ name: "store" })];
      const all = [...swappers, ...storers];
      await Promise.all(all.map((child) => child.begin()));
      for (const child of all) {
        await sleep(Math.random() * 150);
        await child.kill();
      }
      killed.push(...all);
    }

    // Every acknowledged count is in, and at most the one that was under way.
    const counted = await counts();
    for (const { task, said } of killed.filter((child) => child.task.name === "increment")) {
      const acknowledged = Math.max(0, ...said.map(({ count }) => count ?? 0));
      expect([acknowledged, acknowledged + 1], `of ${task.id}`).toContain(counted[task.id ?? ""] ?? 0);
    }
    expect(Object.keys(counted).length, "no process came to count").toBeGreaterThan(0);

    // No lock is in the way of the next writer, and what it writes is what other tools see.
    const before = await store.head(key);
    etagOf(await store.put(key, text("{}"), { condition: { etag: before?.etag ?? "" } }));
    expect(await readFile(join(root, key), "utf8")).toBe("{}");
    expect(await versionsOf(root)).toHaveLength(1);

    // Every acknowledged blob is there, and each that is there is whole.
    const digests = killed.flatMap(({ said }) => said.flatMap(({ digest }) => digest ?? []));
    const blobs = (await listAll(store, "blobs/")).map((blob) => blob.key);
    expect(blobs).toEqual(expect.arrayContaining(digests.map(blobKey)));
    for (const blob of blobs) expect(blobKey(digestOf(await read(await store.get(blob))))).toBe(blob);
  });

  it("removes what killed processes left under way once it is an hour old", async () => {
    for (let i = 0; i < 20 && (await unfinishedFiles(root)).length < 2; i++) {
      const child = start({ name: "store" });
      await child.begin();
      await sleep(20 + Math.random() * 50);
      await child.kill();
    }
    const unfinished = await unfinishedFiles(root);
    const [old, ...young] = unfinished;
    expect(young.length, "too few processes were killed in the middle of a blob").toBeGreaterThan(0);
    await store.put("a", text("written before the hour is over"));
    expect(await unfinishedFiles(root)).toEqual(unfinished);

    const anHourAgo = Date.now() / 1_000 - 3_601;
    await utimes(join(root, ".stowage/tmp", old ?? ""), anHourAgo, anHourAgo);
    await new DirectoryStore(root).put("b", text("written after it"));
    expect(await unfinishedFiles(root)).toEqual(young);
  });
});

interface Task {
  readonly name: "create" | "increment" | "store";
  readonly key?: string;
  readonly id?: string;
  readonly times?: number;
}

/** What a process says that the store has acknowledged. */
interface Line {
  readonly won?: boolean;
  readonly count?: number;
  readonly digest?: Digest;
}

class Child {
  readonly task: Task;
  /** The lines that it has printed. */
  readonly said: Line[] = [];
  readonly ended: Promise<unknown>;
  readonly #process: ChildProcess;
  readonly #ready: Promise<unknown>;

  constructor(root: string, task: Task) {
    this.task = task;
    const args = [childScript, storeModule, root, JSON.stringify(task)];
    const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
    const lines = createInterface({ input: child.stdout });
    lines.on("line", (line) => this.said.push(parseLine(line)));
    this.#process = child;
    this.#ready = once(lines, "line");
    this.ended = once(child, "close");
  }

  /** Lets it begin its task; resolves once it has been told to. */
  async begin(): Promise<void> {
    await this.#ready;
    this.#process.stdin?.write("go\n");
  }

  /** Kills it as a loss of power would. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.ended;
  }
}

function parseLine(line: string): Line {
  const { won, count, digest } = parseObject(line);
  return {
    ...(typeof won === "boolean" && { won }),
    ...(typeof count === "number" && { count }),
    ...(isDigest(digest) && { digest }),
  };
}

function parseObject(line: string): JsonObject {
  const json: unknown = JSON.parse(line);
  if (!isJsonObject(json)) throw new Error(`Cannot read ${line}: expected a JSON object`);
  return json;
}

async function unfinishedFiles(root: string): Promise<string[]> {
  return readdir(join(root, ".stowage/tmp")).catch(() => []);
}

/** The versions that are kept of the object, without the files of those who died on their way to one. */
async function versionsOf(root: string): Promise<string[]> {
  const names = await readdir(join(root, ".stowage/versions/repositories/team/app/_layout/.index.json"));
  return names.filter((name) => !name.includes("."));
}
