import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Clock } from "../../src/clock.ts";
import { StowageError } from "../../src/errors.ts";
import { commitChanges } from "../../src/layout/index/commit-changes.ts";
import { newCommitId } from "../../src/layout/index/commit.ts";
import { seenOf } from "../../src/layout/index/find-stale.ts";
import {
  type RepositoryIndex,
  currentFormat,
  emptyIndex,
  parseRepositoryIndex,
  serializeRepositoryIndex,
} from "../../src/layout/index/repository-index.ts";
import { indexKey, intentsPrefix } from "../../src/layout/keys.ts";
import { maxIndexBytes } from "../../src/limits.ts";
import type { Change, ChangeSet, ChangeSetOutcome } from "../../src/oci/index-change.ts";
import { refNameAnnotation, tagOf } from "../../src/oci/index-entry.ts";
import { ForwardingStore } from "../../src/storage/forwarding-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { orAbort } from "../../src/streams/abortable.ts";
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

afterEach(() => vi.restoreAllMocks());

const commit = async (tag: string): ReturnType<typeof commitChanges> =>
  commitChanges(repository, [setOf(tag)], { store, clock });

/** Makes so many commits in one moment that the next one does not try alone. */
async function makeBusy(tags = ["a", "b", "c", "d"]): Promise<void> {
  for (const tag of tags) await commit(tag);
}

/** Leaves the intent of a writer that has seen the index as it is now, and is dead. */
async function leaveIntentOf(set: ChangeSet): Promise<string> {
  const id = newCommitId(clock);
  await leaveIntent(id, { format: currentFormat, sets: [set], seen: seenOf(await readIndex()) });
  return id;
}

async function leaveIntent(id: string, content: unknown): Promise<void> {
  const bytes = new TextEncoder().encode(typeof content === "string" ? content : JSON.stringify(content));
  await store.put(intentsPrefix(repository) + id, bytes);
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

/** Answers nothing to the first few intents that are sent. */
class UnsteadyStore extends ForwardingStore {
  readonly #arrives: boolean;
  #failuresLeft: number;

  constructor(inner: ObjectStore, { failures, arrives }: { readonly failures: number; readonly arrives: boolean }) {
    super(inner);
    this.#failuresLeft = failures;
    this.#arrives = arrives;
  }

  override async put(...args: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
    const [at] = args;
    if (!at.startsWith(intentsPrefix(repository)) || this.#failuresLeft-- <= 0) return super.put(...args);
    if (this.#arrives) await super.put(...args);
    return { unanswered: new StowageError("STORE_UNAVAILABLE", "no answer came") };
  }
}

/** Something happens between an intent's arrival and the answer to whoever sent it. */
class SlowStore extends ForwardingStore {
  readonly #meanwhile: (signal: AbortSignal | undefined) => Promise<void> | void;

  constructor(inner: ObjectStore, meanwhile: (signal: AbortSignal | undefined) => Promise<void> | void) {
    super(inner);
    this.#meanwhile = meanwhile;
  }

  override async put(...args: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
    const [at, bytes, { signal, ...options } = {}] = args;
    const answer = await super.put(at, bytes, options);
    try {
      if (at.startsWith(intentsPrefix(repository))) await this.#meanwhile(signal);
      return answer;
    } catch (error) {
      if (error instanceof StowageError) return { unanswered: error };
      throw error;
    }
  }
}

/** Has something done, once, before the repository's index is written. */
class OvertakenStore extends ForwardingStore {
  #meanwhile: (() => Promise<void>) | undefined;

  constructor(inner: ObjectStore, meanwhile: () => Promise<void>) {
    super(inner);
    this.#meanwhile = meanwhile;
  }

  override async put(...args: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
    const meanwhile = args[0] === key ? this.#meanwhile : undefined;
    if (meanwhile !== undefined) this.#meanwhile = undefined;
    await meanwhile?.();
    return super.put(...args);
  }
}

describe("commitChanges", () => {
  it.each([
    ["the first index", async () => undefined],
    ["a later one", async () => makeBusy(["before"])],
  ])("goes on when others have committed more often than is remembered before it writes %s", async (_, prepare) => {
    await prepare();
    const others = Array.from({ length: 40 }, (_unused, i) => `other-${i}`);
    const overtaken = new OvertakenStore(store, () => makeBusy(others));
    expect(await commitChanges(repository, [setOf("own")], { store: overtaken, clock })).toEqual([created]);
    expect(await tagsNow()).toEqual(expect.arrayContaining(["own", ...others]));
  });

  it("merges what a dead writer left, and keeps its outcome until the intent is swept", async () => {
    await makeBusy();
    const id = await leaveIntentOf(setOf("left"));
    expect(await commit("own")).toEqual([created]);
    expect((await tagsNow()).toSorted()).toEqual(["a", "b", "c", "d", "left", "own"]);
    expect((await readIndex()).applied.get(id)).toEqual([created]);
    expect(await intents()).toEqual([id]);
  });

  it("leaves alone what is past its time, since its writer may live and its clock be slow", async () => {
    await makeBusy();
    const id = await leaveIntentOf(setOf("left"));
    clock.nowMs += 61_000;
    await makeBusy(["e", "f", "g"]);
    expect(await commit("own")).toEqual([created]);
    expect(await tagsNow()).toEqual(["a", "b", "c", "d", "e", "f", "g", "own"]);
    expect((await readIndex()).applied.has(id)).toBe(false);
    expect(await intents()).toEqual([id]);
  });

  const left = setTag("latest", numberedDigest(7));
  const removal = { op: "remove", tag: "latest" } as const;
  it.each<[string, Change, Change[]]>([
    ["a newer tag", left, [setTag("latest", numberedDigest(8))]],
    ["a newer removal of its tag", left, [removal]],
    ["a newer removal of its digest", left, [{ op: "remove", digest: numberedDigest(7) }]],
    [
      "what has come back to where it was",
      left,
      [setTag("latest", numberedDigest(8)), setTag("latest", numberedDigest(1))],
    ],
    ["a newer tag by a removal", removal, [setTag("latest", numberedDigest(8))]],
    [
      "a newer tag by a removal of its digest",
      { op: "remove", digest: numberedDigest(1) },
      [setTag("new", numberedDigest(1))],
    ],
    [
      "what is newer, though its condition holds",
      { ...left, expects: { digest: numberedDigest(1) } },
      [removal, setTag("latest", numberedDigest(1))],
    ],
  ])("does not let a dead writer undo %s", async (_, dead, newer) => {
    await commitChanges(repository, [{ changes: [setTag("latest", numberedDigest(1))] }], { store, clock });
    await makeBusy();
    const id = await leaveIntentOf({ changes: [dead] });
    clock.nowMs += 5000;
    for (const change of newer) await commitChanges(repository, [{ changes: [change] }], { store, clock });
    const before = await readIndex();
    await makeBusy(["e", "f", "g"]);
    const after = await readIndex();
    expect(after.applied.get(id)).toEqual([{ failed: "expired", stale: true }]);
    expect(after.entries).toEqual(expect.arrayContaining([...before.entries]));
    expect(after.removed).toEqual(before.removed);
  });

  it("makes none of a set whose one part is stale, and all of the sets beside it", async () => {
    await makeBusy();
    const id = newCommitId(clock);
    const sets = [{ changes: [setTag("a", numberedDigest(7)), setTag("new", numberedDigest(7))] }, setOf("other")];
    await leaveIntent(id, { format: currentFormat, sets, seen: seenOf(await readIndex()) });
    clock.nowMs += 5000;
    await commitChanges(repository, [{ changes: [setTag("a", numberedDigest(8))] }], { store, clock });
    await makeBusy(["e", "f"]);
    await commit("own");
    expect((await readIndex()).applied.get(id)).toEqual([{ failed: "expired", stale: true }, created]);
    expect(await tagsNow()).not.toContain("new");
  });

  it("goes on when it is told that it is stale", async () => {
    await makeBusy();
    let tries = 0;
    const overtaken = new SlowStore(store, async () => {
      tries += 1;
      if (tries > 1) return;
      clock.nowMs += 5000;
      await commitChanges(repository, [{ changes: [setTag("own", numberedDigest(9))] }], { store, clock });
      await makeBusy(["e", "f", "g"]); // who merge it
    });
    const outcomes = await commitChanges(repository, [setOf("own")], { store: overtaken, clock });
    expect(outcomes).toEqual([{ changes: [{ status: "updated", previous: numberedDigest(9) }] }]);
    expect(tries).toBe(2);
    expect(await intents()).toEqual([]);
  });

  it.each([-10, -2, 2, 10])("is merged by others though its clock is wrong by %i minutes", async (minutes) => {
    await makeBusy();
    const ownClock = { ...clock, now: () => clock.nowMs + minutes * minuteMs };
    const overtaken = new OvertakenStore(store, () => makeBusy(["others"]));
    let isMerged = false;
    const slow = new SlowStore(overtaken, async () => {
      await makeBusy(["e", "f", "g"]);
      isMerged = (await tagsNow()).includes("own");
    });
    expect(await commitChanges(repository, [setOf("own")], { store: slow, clock: ownClock })).toEqual([created]);
    expect(isMerged).toBe(true);
  });

  it("merges nothing that was left before the index lost its history", async () => {
    await makeBusy();
    const id = await leaveIntentOf(setOf("left"));
    const { generation, commits, entries } = await readIndex();
    const text = JSON.stringify({
      schemaVersion: 2,
      manifests: entries.map(({ mediaType, digest, size, annotations }) => {
        const tag = annotations?.[refNameAnnotation] ?? "";
        return { mediaType, digest, size, annotations: { [refNameAnnotation]: tag } };
      }),
      annotations: { "dev.stowage.generation": String(generation), "dev.stowage.commits": commits.join(" ") },
    });
    await store.delete(key);
    await store.put(key, new TextEncoder().encode(text));
    expect(await commit("own")).toEqual([created]);
    expect((await readIndex()).applied.get(id)).toEqual([{ failed: "expired", stale: true }]);
    expect(await readIndex()).toMatchObject({ format: currentFormat, generation: generation + 1 });
  });

  it("changes nothing that a later version wrote", async () => {
    await makeBusy(["a"]);
    const text = Buffer.from(serializeRepositoryIndex(await readIndex())).toString();
    const later = text
      .replace('"dev.stowage.format":"2"', '"dev.stowage.format":"3"')
      .replace('"dev.stowage.history"', '"dev.stowage.applied":"of another form","dev.stowage.history"');
    await store.delete(key);
    await store.put(key, Buffer.from(later));
    for (const tags of [["b"], ["c", "d", "e"]]) {
      await expect(makeBusy(tags)).rejects.toMatchObject({
        code: "STORE_UNAVAILABLE",
        message: `Cannot change "${repository}": its index has format 3, expected at most 2; a later version of Stowage wrote it`,
      });
    }
    expect(await commit("a")).toEqual([{ changes: [{ status: "unchanged" }] }]);
    expect(await tagsNow()).toEqual(["a"]);
    expect(await intents()).toEqual([]);
  });

  it("sweeps intents an hour after their writers died, and then forgets their outcomes", async () => {
    await makeBusy();
    const id = await leaveIntentOf(setOf("left"));
    await commit("own");
    clock.nowMs += 61 * minuteMs;
    await makeBusy(["e", "f", "g", "h"]);
    await commit("later");
    expect(await intents()).toEqual([]);
    await commit("last");
    const { applied } = await readIndex();
    expect([...applied.keys()]).not.toContain(id);
    expect(applied.size).toBe(1);
  });

  it.each(["no JSON", '{"sets":"later version","format":3}', '{"sets":[],"deadline":9e15}', "{}"])(
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
    clock.nowMs += 61 * minuteMs;
    for (const tags of [["e", "f", "g", "h"], ["i"]]) await makeBusy(tags);
    await commit("later");
    expect(await intents()).toEqual([]);
  });

  it.each([
    ["never arrived", false],
    ["arrived without an answer", true],
  ])("sends an intent again that %s, and leaves it there, since the first may come late", async (_, arrives) => {
    await makeBusy();
    const unsteady = new UnsteadyStore(store, { failures: 2, arrives });
    expect(await commitChanges(repository, [setOf("own")], { store: unsteady, clock })).toEqual([created]);
    expect(await tagsNow()).toContain("own");
    const [id, ...others] = await intents();
    expect(others).toEqual([]);
    expect((await readIndex()).applied.get(id ?? "")).toEqual([created]);
  });

  it("cannot tell what becomes of an intent that no try of it brought an answer", async () => {
    await makeBusy();
    const unsteady = new UnsteadyStore(store, { failures: Number.POSITIVE_INFINITY, arrives: false });
    const failed = commitChanges(repository, [setOf("own")], { store: unsteady, clock });
    await expect(failed).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(await tagsNow()).not.toContain("own");
  });

  it("sends an intent again to which the store says nothing", async () => {
    await makeBusy();
    vi.spyOn(AbortSignal, "timeout").mockImplementation(() => AbortSignal.abort(new Error("too late")));
    let tries = 0;
    const silent = new SlowStore(store, async (signal) => {
      tries += 1;
      if (tries === 1) await orAbort(new Promise(() => undefined), signal);
    });
    expect(await commitChanges(repository, [setOf("own")], { store: silent, clock })).toEqual([created]);
    expect(tries).toBe(2);
    expect(await intents()).toHaveLength(1);
  });

  it("looks for what became of an intent whose answer came when its time was over", async () => {
    await makeBusy();
    const slow = new SlowStore(store, async () => {
      await makeBusy(["others"]); // who merge it meanwhile
      clock.nowMs += 2 * minuteMs;
    });
    expect(await commitChanges(repository, [setOf("own")], { store: slow, clock })).toEqual([created]);
    expect(await intents()).toEqual([]);
  });

  it("looks once more when it was held up until the time for that was over", async () => {
    await makeBusy();
    await leaveIntentOf(setOf("older"));
    clock.nowMs += 1;
    const sleep = clock.sleep.bind(clock);
    clock.sleep = async () => {
      clock.sleep = sleep;
      await makeBusy(["others"]); // who merge it meanwhile
      clock.nowMs += 2 * minuteMs;
    };
    expect(await commit("own")).toEqual([created]);
    expect(await tagsNow()).toEqual(expect.arrayContaining(["older", "own", "others"]));
  });

  it("sends no intent again that nobody may merge any more", async () => {
    await makeBusy();
    let tries = 0;
    const slow = new SlowStore(store, () => {
      tries += 1;
      clock.nowMs += 2 * minuteMs;
      throw new StowageError("STORE_UNAVAILABLE", "no answer came");
    });
    expect(await commitChanges(repository, [setOf("own")], { store: slow, clock })).toEqual([{ failed: "expired" }]);
    expect(tries).toBe(1);
    expect(await tagsNow()).not.toContain("own");
  });

  it("says what the store said when it cannot tell whether the index was written", async () => {
    store.put = async () => ({ unanswered: new StowageError("STORE_UNAVAILABLE", "EIO: i/o error") });
    await expect(commit("own")).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringContaining("will be made: EIO: i/o error; try again"),
    });
  });

  it("is in no doubt about a write that was lost when it cannot look again", async () => {
    let isSilent = false;
    const silent = new OvertakenStore(store, async () => {
      await makeBusy(["other"]);
      isSilent = true;
    });
    silent.get = async (...args) => {
      if (isSilent) throw new StowageError("STORE_UNAVAILABLE", "no answer came");
      return store.get(...args);
    };
    const failed = commitChanges(repository, [setOf("own")], { store: silent, clock });
    await expect(failed).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", message: "no answer came" });
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
    await store.put(key, serializeRepositoryIndex({ ...emptyIndex, applied }));
    const changes = Array.from({ length: 60 }, (_, i) => ({ op: "remove" as const, digest: numberedDigest(i) }));
    await expect(commitChanges(repository, [{ changes }], { store, clock })).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
    });
    expect((await readIndex()).removed).toEqual([]); // it can still be read
  });
});
