import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { StowageError } from "../../src/errors.ts";
import { CommitQueue } from "../../src/layout/index/commit-queue.ts";
import { parseRepositoryIndex } from "../../src/layout/index/repository-index.ts";
import { indexKey } from "../../src/layout/keys.ts";
import type { Change, ChangeSet, ChangeSetOutcome } from "../../src/oci/index-change.ts";
import { tagOf } from "../../src/oci/index-entry.ts";
import { ForwardingStore } from "../../src/storage/forwarding-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { readAll } from "../support/bytes.ts";
import { numberedDigest, setTag } from "./scenario.ts";

const maxBatchMs = 120_000;
const repository = "team/app";
const created: ChangeSetOutcome = { changes: [{ status: "created" }] };
const setOf = (...tags: readonly string[]): ChangeSet => ({
  changes: tags.map((tag): Change => setTag(tag, numberedDigest(1))),
});

/** A store whose reads of an index wait until they are let through, or fail. */
class GatedStore extends ForwardingStore {
  /** Tags by which each write of an index moved it on. */
  readonly writes: string[][] = [];
  /** Calls of those who wait: they let one read through. */
  readonly gates: (() => void)[] = [];
  isOpen = false;
  failure: StowageError | undefined;
  #tags: readonly string[] = [];

  override async get(...args: Parameters<ObjectStore["get"]>): ReturnType<ObjectStore["get"]> {
    if (!this.isOpen) await new Promise<void>((resolve) => this.gates.push(resolve));
    if (this.failure !== undefined) throw this.failure;
    return super.get(...args);
  }

  override async put(...args: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
    const [key, bytes] = args;
    if (key.endsWith("index.json")) {
      const tags = parseRepositoryIndex(bytes, key).entries.map((entry) => tagOf(entry) ?? "");
      this.writes.push(tags.filter((tag) => !this.#tags.includes(tag)));
      this.#tags = tags;
    }
    return super.put(...args);
  }

  open(): void {
    this.isOpen = true;
    for (const letThrough of this.gates.splice(0)) letThrough();
  }
}

let memory: MemoryStore;
let store: GatedStore;
let queue: CommitQueue;
const commit = async (set: ChangeSet, name = repository): Promise<ChangeSetOutcome> =>
  queue.commit(name, set, { store });
const tags = async (): Promise<string[]> => {
  const key = indexKey(repository);
  const found = await memory.get(key);
  if (found === undefined) return [];
  return parseRepositoryIndex(await readAll(found.body), key).entries.map((entry) => tagOf(entry) ?? "");
};

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  memory = new MemoryStore();
  store = new GatedStore(memory);
  queue = new CommitQueue();
});
afterEach(() => vi.useRealTimers());

describe("CommitQueue", () => {
  it("lets those who come while another commits go together, in their order", async () => {
    const commits = ["1", "2", "3", "4"].map(async (tag) => commit(setOf(tag)));
    store.open();
    expect(await Promise.all(commits)).toEqual([created, created, created, created]);
    expect(store.writes).toEqual([["1"], ["2", "3", "4"]]);
  });

  it("tells each what became of its own set", async () => {
    const refused: ChangeSet = { changes: [{ op: "remove", tag: "9", expects: { digest: numberedDigest(1) } }] };
    const commits = [setOf("1"), setOf("2"), refused, setOf("3", "4")].map(async (set) => commit(set));
    store.open();
    expect(await Promise.all(commits)).toEqual([
      created,
      created,
      { refused: { reason: "unexpected", reference: "9" } },
      { changes: [{ status: "created" }, { status: "created" }] },
    ]);
  });

  it("tells all who went together of an error, and nobody else", async () => {
    const failure = new StowageError("STORE_UNAVAILABLE", "no answer");
    const first = commit(setOf("1"));
    store.gates.shift()?.();
    const others = [commit(setOf("2")), commit(setOf("3"))];
    const failing = Promise.allSettled(others);
    await first;
    store.failure = failure;
    await vi.waitFor(() => expect(store.gates).toHaveLength(1));
    store.gates.shift()?.();
    const after = commit(setOf("4"));
    expect(await failing).toEqual([
      { status: "rejected", reason: failure },
      { status: "rejected", reason: failure },
    ]);
    store.failure = undefined;
    store.open();
    expect(await after).toEqual(created);
    expect(await tags()).toEqual(["1", "4"]);
  });

  it("hands the lead on, as often as somebody waits", async () => {
    const commits: Promise<ChangeSetOutcome>[] = [commit(setOf("1"))];
    for (const tag of ["2", "3", "4"]) {
      commits.push(commit(setOf(tag)));
      store.gates.shift()?.();
      await vi.waitFor(() => expect(store.gates).toHaveLength(1));
    }
    store.open();
    expect(await Promise.all(commits)).toEqual([created, created, created, created]);
    expect(store.writes).toEqual([["1"], ["2"], ["3"], ["4"]]);
  });

  it("puts no more than 1000 changes into one commit, but for a set that has more", async () => {
    const sizes = [1, 600, 400, 1, 1500, 1];
    const sets = sizes.map((size, place) => setOf(...Array.from({ length: size }, (_, i) => `${place}-${i}`)));
    const commits = sets.map(async (set) => commit(set));
    store.open();
    const outcomes = await Promise.all(commits);
    expect(outcomes.map((outcome) => "changes" in outcome && outcome.changes.length)).toEqual(sizes);
    expect(store.writes.map(({ length }) => length)).toEqual([1, 1000, 1, 1500, 1]);
  });

  it("lets no repository wait for another", async () => {
    const held = commit(setOf("1"));
    expect(store.gates).toHaveLength(1);
    store.isOpen = true;
    expect(await commit(setOf("2"), "team/other")).toEqual(created);
    expect(await tags()).toEqual([]);
    store.open();
    expect(await held).toEqual(created);
  });

  it("does not hold others for good where whoever leads is gone", async () => {
    void commit(setOf("gone")); // its read is never let through
    const commits = ["1", "2"].map(async (tag) => commit(setOf(tag)));
    store.isOpen = true;
    vi.advanceTimersByTime(maxBatchMs - 1);
    await turns(100);
    expect(store.writes).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(await Promise.all(commits)).toEqual([created, created]);
    expect(await commit(setOf("3"))).toEqual(created);
    expect((await tags()).toSorted()).toEqual(["1", "2", "3"]);
  });

  it("tells those whose changes went with somebody who is gone that nobody knows", async () => {
    const first = commit(setOf("1"));
    const next = commit(setOf("2")); // leads once the first is done, and is then held for good
    const taken = commit(setOf("3"));
    next.catch(() => undefined);
    store.gates.shift()?.();
    await first;
    await vi.waitFor(() => expect(store.gates).toHaveLength(1));
    const isUnknown = expect(taken).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    await vi.advanceTimersByTimeAsync(2 * maxBatchMs);
    await isUnknown;
    store.isOpen = true;
    const after = commit(setOf("4"));
    await turns(10);
    vi.advanceTimersByTime(maxBatchMs);
    expect(await after).toEqual(created);
  });

  it("loses no lead that is handed on in the moment in which the waiting ends", async () => {
    for (let hops = 0; hops < 150; hops++) {
      store = new GatedStore(memory);
      queue = new CommitQueue();
      const commits = [commit(setOf(`first-${hops}`)), commit(setOf(`second-${hops}`))];
      vi.advanceTimersByTime(1000);
      commits.push(commit(setOf(`third-${hops}`)));
      vi.advanceTimersByTime(maxBatchMs - 1001);
      store.open();
      await turns(hops);
      vi.advanceTimersByTime(1);
      expect(await Promise.all(commits), `after ${hops} turns`).toEqual([created, created, created]);
    }
  });
});

/** Lets whatever is ready go on, so many steps. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await Promise.resolve();
}
