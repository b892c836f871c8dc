/** Processes on one directory: one of them is killed once its intent is there, or the clock of one is wrong by minutes. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { readIndex } from "../../src/layout/index/index-state.ts";
import { intentsPrefix } from "../../src/layout/keys.ts";
import { probeStore } from "../../src/layout/probe-store.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import type { Change } from "../../src/oci/index-change.ts";
import { tagOf } from "../../src/oci/index-entry.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { listAll } from "../storage/contract-objects.ts";
import { buildStowage } from "../support/build.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";
import { Race } from "./race.ts";
import { numberedDigest, setTag } from "./scenario.ts";

const repository = "race/app";
/** The first that a client of a race loads. */
const tag = "w0";

let root = "";
let store: DirectoryStore;
const races: Race[] = [];

beforeAll(async () => {
  await buildStowage();
});

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "stowage-processes-"));
  store = new DirectoryStore(root);
  await probeStore(store);
});

afterEach(async () => {
  await Promise.all(races.splice(0).map((race) => race.cleanUp()));
  await rm(root, { recursive: true });
});

async function prepare(preload: string, clients: number, env: Readonly<Record<string, string>> = {}): Promise<Race> {
  const options = `--require=${fileURLToPath(new URL(preload, import.meta.url))}`;
  const race = await Race.prepare({
    url: `file:${root}`,
    env: { ...env, NODE_OPTIONS: options },
    processes: 1,
    clients,
  });
  races.push(race);
  return race;
}

async function make(change: Change): Promise<void> {
  await updateRepository(openLayout(store), { repository, changes: [change] });
}

/** Three commits in a moment: the third goes by way of an intent, and merges what is there. */
async function makeBusy(name: string): Promise<void> {
  for (const i of [1, 2, 3]) await make(setTag(`${name}-${i}`, numberedDigest(i)));
}

async function intentIds(): Promise<string[]> {
  return (await listAll(store, intentsPrefix(repository))).map(({ key }) =>
    key.slice(intentsPrefix(repository).length),
  );
}

/** A process is killed when its load of the tag has left an intent. Returns the intent's id. */
async function leaveIntent(): Promise<string> {
  for (let tries = 1; tries <= 10; tries++) {
    const race = await prepare("die-after-intent.cjs", 1);
    await makeBusy("before");
    race.begin();
    const isKilled = (await race.ended()) === 0;
    const [id] = await intentIds();
    if (isKilled && id !== undefined) return id;
    await make({ op: "remove", tag }); // the process was so slow to begin that it needed no intent
  }
  throw new Error("no process was killed");
}

describe("a writer that is killed once its intent is there", { timeout: 60_000 }, () => {
  it.each<[string, Change | undefined]>([
    ["load", undefined],
    ["deletion of a tag", { op: "remove", tag }],
  ])("does not undo a %s that was acknowledged later", async (_, removal) => {
    const id = await leaveIntent();
    const newer = makeLayout({ label: "newer" });
    await sleep(1200); // so that the load goes alone, and leaves the intent as it is
    await loadArchive(openLayout(store), Readable.from([await tarOf(newer)]), { name: `${repository}:${tag}` });
    if (removal !== undefined) await make(removal);
    await makeBusy("after");
    const { index } = await readIndex(store, repository);
    expect([...index.applied.keys()]).toContain(id);
    const found = index.entries.find((entry) => tagOf(entry) === tag)?.digest;
    expect(found).toBe(removal === undefined ? newer.digest : undefined);
  });

  it("is merged where nothing is newer", async () => {
    const id = await leaveIntent();
    await makeBusy("after");
    const { index } = await readIndex(store, repository);
    expect(index.applied.get(id)).toEqual([{ changes: [{ status: "created" }] }]);
    expect(index.entries.map(tagOf)).toContain(tag);
  });
});

describe("a writer whose clock is wrong", { timeout: 60_000 }, () => {
  it.each([120_000, -600_000])("by %i ms races with others, and all are done", async (skewMs) => {
    const both = await Promise.all([
      prepare("skew-clock.cjs", 10, { SKEW_MS: "0" }),
      prepare("skew-clock.cjs", 10, { SKEW_MS: String(skewMs) }),
    ]);
    for (const race of both) race.begin();
    await Promise.all(both.map(async (race) => race.ended()));
    expect(both.flatMap(({ failures }) => failures)).toEqual([]);
    expect(both.map(({ acknowledged }) => acknowledged.length)).toEqual([20, 20]);
  });
});
