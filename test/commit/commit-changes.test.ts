import { beforeEach, describe, expect, it } from "vitest";
import type { Clock } from "../../src/clock.ts";
import { commitChanges } from "../../src/commit/commit-changes.ts";
import { newCommitId } from "../../src/commit/commit-id.ts";
import { maxIndexBytes } from "../../src/limits.ts";
import type { ChangeSet, ChangeSetOutcome } from "../../src/oci/index-change.ts";
import {
  type RepositoryIndex,
  emptyIndex,
  parseRepositoryIndex,
  serializeRepositoryIndex,
  tagOf,
} from "../../src/oci/repository-index.ts";
import { indexKey, intentsPrefix } from "../../src/storage/keys.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { readAll } from "../support/bytes.ts";
import { numberedDigest, setTag } from "./scenario.ts";
import { seededRandom } from "./scheduler.ts";

const repository = "team/app";
const key = indexKey(repository);
const minuteMs = 60_000;
const created: ChangeSetOutcome = { changes: [{ status: "created" }] };
const setOf = (tag: string): ChangeSet => ({ changes: [setTag(tag, numberedDigest(1))] });

let store: MemoryStore;
let clock: Clock & { nowMs: number };

beforeEach(() => {
  store = new MemoryStore();
  const random = seededRandom(1);
  clock = {
    nowMs: 1_700_000_000_000,
    now: () => clock.nowMs,
    sleep: async (ms) => void (clock.nowMs += Math.ceil(ms)),
    random,
  };
});

const commit = async (tag: string): ReturnType<typeof commitChanges> =>
  commitChanges(repository, [setOf(tag)], { store, clock });

/** Makes so many commits in one moment that the next one does not try alone. */
async function makeBusy(tags = ["a", "b", "c", "d"]): Promise<void> {
  for (const tag of tags) await commit(tag);
}

async function leaveIntent(id: string, content: unknown): Promise<void> {
  const bytes = new TextEncoder().encode(typeof content === "string" ? content : JSON.stringify(content));
  await store.putIf(intentsPrefix(repository) + id, bytes, "absent");
}

async function readIndex(): Promise<RepositoryIndex> {
  const found = await store.get(key);
  return found === undefined ? emptyIndex : parseRepositoryIndex(await readAll(found.body), key);
}

const tagsNow = async (): Promise<string[]> => (await readIndex()).entries.map((entry) => tagOf(entry) ?? "");

async function intents(): Promise<string[]> {
  const ids: string[] = [];
  for await (const info of store.list(intentsPrefix(repository)))
    ids.push(info.key.slice(intentsPrefix(repository).length));
  return ids;
}

describe("commitChanges", () => {
  it("merges what a dead writer left, and keeps its outcome until the intent is swept", async () => {
    const id = newCommitId(clock);
    await leaveIntent(id, { sets: [setOf("left")], deadline: clock.now() + minuteMs });
    await makeBusy();
    expect(await commit("own")).toEqual([created]);
    expect((await tagsNow()).toSorted()).toEqual(["a", "b", "c", "d", "left", "own"]);
    expect((await readIndex()).applied.get(id)).toEqual([created]);
    expect(await intents()).toEqual([id]);
  });

  it("does not merge what is past its time", async () => {
    const id = newCommitId(clock);
    await leaveIntent(id, { sets: [setOf("left")], deadline: clock.now() - 1 });
    await makeBusy();
    expect(await commit("own")).toEqual([created]);
    expect(await tagsNow()).toEqual(["a", "b", "c", "d", "own"]);
    expect((await readIndex()).applied.get(id)).toEqual([{ failed: "expired" }]);
  });

  it("sweeps intents ten minutes after their writers died, and then forgets their outcomes", async () => {
    const id = newCommitId(clock);
    await leaveIntent(id, { sets: [setOf("left")], deadline: clock.now() + minuteMs });
    await makeBusy();
    await commit("own");
    clock.nowMs += 11 * minuteMs;
    await makeBusy(["e", "f", "g", "h"]);
    await commit("later");
    expect(await intents()).toEqual([]);
    await commit("last");
    const { applied } = await readIndex();
    expect([...applied.keys()]).not.toContain(id);
    expect(applied.size).toBe(1);
  });

  it.each(["no JSON", '{"sets":"later version","deadline":9e15}', "{}"])(
    "leaves alone what is no intent that it knows: %s",
    async (content) => {
      const id = newCommitId(clock);
      await leaveIntent(id, content);
      await makeBusy();
      expect(await commit("own")).toEqual([created]);
      expect(await intents()).toEqual([id]);
    },
  );

  it.each<[string, string, number]>([
    ["too large to be read", "018bcfe56800-000000000000000000000000", 17],
    ["named like nothing that a commit writes", "0.txt", 9],
  ])("is not held up by what is %s", async (_, name, size) => {
    await leaveIntent(name, "x".repeat(size * 1024 * 1024));
    await makeBusy();
    expect(await commit("own")).toEqual([created]);
  });

  it("sweeps what it cannot read once its writer must be dead", async () => {
    await leaveIntent(newCommitId(clock), "no JSON");
    await makeBusy();
    await commit("own");
    clock.nowMs += 11 * minuteMs;
    for (const tags of [["e", "f", "g", "h"], ["i"]]) await makeBusy(tags);
    await commit("later");
    expect(await intents()).toEqual([]);
  });

  it("refuses changes that would be too large an intent", async () => {
    await makeBusy();
    const changes = [{ ...setTag("own", numberedDigest(1)), artifactType: "x".repeat(17 * 1024 * 1024) }];
    const refused = commitChanges(repository, [{ changes }], { store, clock });
    await expect(refused).rejects.toMatchObject({ code: "LIMIT_EXCEEDED" });
    expect(await intents()).toEqual([]);
  });

  it("writes no index that nobody could read any more", async () => {
    const reference = "x".repeat(maxIndexBytes - 3000);
    const applied = new Map([[newCommitId(clock), [{ refused: { reason: "unexpected" as const, reference } }]]]);
    await store.putIf(key, serializeRepositoryIndex({ ...emptyIndex, applied }), "absent");
    const changes = Array.from({ length: 60 }, (_, i) => ({ op: "remove" as const, digest: numberedDigest(i) }));
    await expect(commitChanges(repository, [{ changes }], { store, clock })).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
    });
    expect((await readIndex()).removed).toEqual([]); // it can still be read
  });
});
