/**
 * Puts the writers of one file to sleep, or to death, between any two calls of the file system, and holds what is
 * written against what each of them was told.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type * as FileSystem from "node:fs/promises";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { etagOf, read, text } from "./contract-objects.ts";

interface BeforeCall {
  pause: (call: string) => Promise<void>;
}

const { beforeCall } = vi.hoisted((): { beforeCall: BeforeCall } => ({
  beforeCall: { pause: () => Promise.resolve() },
}));

vi.mock("node:fs/promises", async (importOriginal) => {
  const original = await importOriginal<typeof FileSystem>();
  const pausing = ["link", "lstat", "mkdir", "open", "readdir", "rename", "rm", "rmdir", "unlink"] as const;
  return {
    ...original,
    ...Object.fromEntries(
      pausing.map((name) => [
        name,
        async (...args: unknown[]): Promise<unknown> => {
          await beforeCall.pause(name);
          return Reflect.apply(original[name], undefined, args);
        },
      ]),
    ),
  };
});

/** One of those who use the store at once. */
interface Actor {
  readonly mayDie: boolean;
  /** Stops the actor before it first calls this, until it is told to go on. */
  readonly stop?: { readonly call: string; readonly before: () => Promise<void> } | undefined;
  /** Ends the actor: its call of the file system never comes. */
  readonly die: () => void;
}

const actors = new AsyncLocalStorage<Actor>();

beforeCall.pause = async (call) => {
  const actor = actors.getStore();
  if (actor === undefined) return;
  if (actor.stop !== undefined) {
    if (actor.stop.call === call) await actor.stop.before();
    return;
  }
  const dice = Math.random();
  if (actor.mayDie && dice < 0.004) {
    actor.die();
    await new Promise<never>(() => {});
  } else if (dice < 0.02) {
    await sleep(Math.random() * 60); // as long as ten others take
  } else if (dice < 0.4) {
    await setImmediate();
  }
};

function act(work: () => Promise<void>, { mayDie }: { mayDie: boolean }): Promise<void> {
  return new Promise((resolve, reject) => {
    void actors.run({ mayDie, die: resolve }, () => work().then(resolve, reject));
  });
}

interface Stopped<Result> {
  readonly stopped: Promise<void>;
  readonly goOn: () => void;
  readonly done: Promise<Result>;
}

/** Does work up to its first call of this kind, and the rest when it is told to go on. */
function stopBefore<Result>(call: string, work: () => Promise<Result>): Stopped<Result> {
  let stop: () => void = () => undefined;
  let goOn: () => void = () => undefined;
  const stopped = new Promise<void>((resolve) => (stop = resolve));
  const told = new Promise<void>((resolve) => (goOn = resolve));
  const before = async (): Promise<void> => {
    stop();
    await told;
  };
  const done = actors.run({ mayDie: false, die: () => undefined, stop: { call, before } }, work);
  return { stopped, goOn, done };
}

describe("FileVersions", () => {
  const key = "index.json";
  let root: string;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "stowage-versions-"));
  });

  afterEach(() => rm(root, { recursive: true }));

  it.each([1, 2, 3])("does what it says to writers that sleep and die (round %i)", async () => {
    const until = Date.now() + 1_500;
    const won = new Set<string>();
    const lost = new Set<string>();
    const states = new Map<string, string>();
    let ids = 0;

    /** Reads the object, and expects that no ETag has named another state. */
    async function readState(store: DirectoryStore): Promise<{ content: string; etag: string | undefined }> {
      const object = await store.get(key);
      if (object === undefined) return { content: "", etag: undefined };
      const content = new TextDecoder().decode(await read(object));
      expect(states.get(object.etag) ?? content, "an ETag names two states").toBe(content);
      states.set(object.etag, content);
      return { content, etag: object.etag };
    }

    /** Adds one id after the other to what is there. */
    async function write(): Promise<void> {
      const store = new DirectoryStore(root);
      while (Date.now() < until) {
        const { content, etag } = await readState(store);
        const id = `${ids++};`;
        const condition = etag === undefined ? "absent" : { etag };
        const result = await store.put(key, text(content + id), { condition });
        (result === "conflict" ? lost : won).add(id);
      }
    }

    async function watch(): Promise<void> {
      const store = new DirectoryStore(root);
      for (let before = ""; Date.now() < until; await setImmediate()) {
        const { content } = await readState(store);
        expect(content.startsWith(before), "a reader saw a state, and then an older one").toBe(true);
        before = content;
      }
    }

    const writers = Array.from({ length: 8 }, (_, i) => act(write, { mayDie: i < 6 }));
    await Promise.all([...writers, act(watch, { mayDie: false }), act(watch, { mayDie: false })]);

    const store = new DirectoryStore(root);
    const { content, etag } = await readState(store);
    const written = content.split(/(?<=;)/);
    expect(new Set(written).size).toBe(written.length);
    expect(
      [...won].filter((id) => !written.includes(id)),
      "the store acknowledged a write and lost it",
    ).toEqual([]);
    expect(
      written.filter((id) => lost.has(id)),
      "the store returned a conflict but wrote anyway",
    ).toEqual([]);

    // Whatever the dead left, the next writer wins at once, and cleans up.
    etagOf(await store.put(key, text("the end"), { condition: { etag: etag ?? "" } }));
    expect(await readFile(join(root, key), "utf8")).toBe("the end");
    const versions = await readdir(join(root, ".stowage/versions/.index.json"));
    const newest = Math.max(...versions.map(Number).filter((number) => number > 0));
    expect(versions.filter((name) => Number.parseInt(name) < newest)).toEqual([]);
  });

  it("lets one writer win, also while the folder of an old deletion is removed", async () => {
    const store = new DirectoryStore(root);
    const swap = async (content: string, etag: string): Promise<string> => {
      const answer = await store.put(key, text(content), { condition: { etag } });
      return answer === "conflict" ? answer : "won";
    };
    const create = async (content: string): Promise<string> =>
      etagOf(await store.put(key, text(content), { condition: "absent" }));
    expect(await swap("second", await create("first"))).toBe("won");
    await store.delete(key);
    const removal = join(root, ".stowage/versions/.index.json");
    expect(await readdir(removal)).toHaveLength(1);

    vi.spyOn(Date, "now").mockReturnValue(Date.now() + 2 * 60 * 60 * 1000);
    const sweeper = stopBefore("rmdir", async () => store.delete(key));
    await sweeper.stopped; // it has seen that there is no object
    const etag = await create("third");
    const slow = stopBefore("link", async () => swap("fourth", etag)); // it has seen the folder of the deletion
    await slow.stopped;
    sweeper.goOn();
    await sweeper.done;
    const fast = await swap("fifth", etag); // it does not see the folder
    slow.goOn();
    expect([fast, await slow.done].toSorted()).toEqual(["conflict", "won"]);
    vi.restoreAllMocks();
  });
});
