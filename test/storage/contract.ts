/**
 * The contract of `ObjectStore`: every store passes this one suite, through the interface alone. After each test all
 * objects are deleted and nothing may be left: no object, no temporary file, no open multipart upload.
 */
import { Buffer } from "node:buffer";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ObjectInfo, ObjectStore, PutCondition } from "../../src/storage/object-store.ts";
import {
  at,
  digestOf,
  etagOf,
  expectSame,
  failing,
  inChunks,
  inParallel,
  increment,
  keyOf,
  listAll,
  listKeys,
  pick,
  plain,
  randomBytes,
  read,
  send,
  source,
  stalling,
  text,
  ways,
} from "./contract-objects.ts";
import { describeCopy } from "./copy-contract.ts";
import { describeCopyFrom, describeNoCopyFrom } from "./copy-from-contract.ts";

export interface StoreUnderTest {
  /** Fresh and empty. */
  readonly store: ObjectStore;
  /** Another empty store, from which this one can copy by itself. Undefined on stores that never can. */
  readonly neighbour?: ObjectStore;
  /** A second handle on the same data, as another process would have it. */
  reopen(): ObjectStore | Promise<ObjectStore>;
  /** Names everything that is neither an object nor the store's own bookkeeping: temporary files, open uploads. */
  leftovers(): Promise<readonly string[]>;
  /** Writes an object behind the store's back, if that is possible; else `put` does. */
  damage?(key: string, bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

export interface StoreContractOptions {
  /** How many objects are listed; more than one page of the store's own. */
  readonly listedObjects?: number;
  /** How many writers race for one state of an object. */
  readonly racers?: number;
  /** False for a server that ignores conditions when a multipart upload is completed. */
  readonly writeIsConditional?: boolean;
  /** True for a store that can copy from its neighbour. */
  readonly copiesFrom?: boolean;
  /** For each test. */
  readonly timeoutMs?: number;
}

export function describeStoreContract(
  name: string,
  open: () => StoreUnderTest | Promise<StoreUnderTest>,
  {
    listedObjects = 1_100,
    racers = 20,
    writeIsConditional = true,
    copiesFrom = false,
    timeoutMs = 60_000,
  }: StoreContractOptions = {},
): void {
  describe(`${name} keeps the contract of ObjectStore`, { timeout: timeoutMs }, () => {
    let opened: StoreUnderTest;
    let store: ObjectStore;

    beforeEach(async () => {
      opened = await open();
      store = opened.store;
    }, timeoutMs);

    afterEach(async () => {
      try {
        for (const used of [store, ...(opened.neighbour ? [opened.neighbour] : [])]) {
          const keys = await listKeys(used, "");
          await inParallel(keys, (key) => used.delete(key));
          expect(await listAll(used, ""), "objects are left after all were deleted").toEqual([]);
        }
        expect(await opened.leftovers(), "the backend keeps what is no object").toEqual([]);
      } finally {
        await opened.close();
      }
    }, timeoutMs);

    /** What must hold after the only object could not be stored. */
    async function expectNothingStored(key: string): Promise<void> {
      const why = "the backend returned an error but stored the object anyway";
      expect(await store.head(key), why).toBeUndefined();
      expect(await listAll(store, ""), why).toEqual([]);
      expect(await opened.leftovers(), "the backend left something behind a failed write").toEqual([]);
    }

    async function create(key: string, bytes: Uint8Array): Promise<string> {
      return etagOf(await store.put(key, bytes, { condition: "absent" }));
    }

    /** Writes wrong bytes under a key and returns their ETag. */
    async function damage(key: string, bytes: Uint8Array): Promise<string> {
      if (opened.damage === undefined) return create(key, bytes);
      await opened.damage(key, bytes);
      return (await store.head(key))?.etag ?? "";
    }

    describe("head and get", () => {
      it("answer undefined for an object that is not there", async () => {
        expect(await store.head("nothing/here")).toBeUndefined();
        expect(await store.get("nothing/here")).toBeUndefined();
        expect(await store.get("nothing/here", { range: { start: 0, end: 0 } })).toBeUndefined();
      });

      it("answer undefined for what is only the beginning of a key", async () => {
        await create("a/b/c", text("1"));
        expect(await store.head("a/b")).toBeUndefined();
        expect(await store.get("a/b")).toBeUndefined();
      });

      it("agree with put and list about key, size and ETag", async () => {
        const etag = await create("repositories/team/app/_layout/index.json", text("twelve bytes"));
        const info: ObjectInfo = { key: "repositories/team/app/_layout/index.json", size: 12, etag };
        expect(etag).toMatch(/^[^"]+$/);
        expect(pick(await store.head(info.key))).toEqual(info);
        expect(await listAll(store, "")).toEqual([info]);
        const object = await store.get(info.key);
        expect(pick(object)).toEqual(info);
        expect(await read(object)).toEqual(text("twelve bytes"));
      });

      it("are the same through another handle", async () => {
        const etag = await create("index.json", text("one"));
        const other = await opened.reopen();
        expect(pick(await other.head("index.json"))).toEqual({ key: "index.json", size: 3, etag });
        expect(await read(await other.get("index.json"))).toEqual(text("one"));
      });
    });

    describe("get", () => {
      it.each([
        ["the first byte", 0, 0],
        ["the last byte", 999, 999],
        ["a middle", 100, 899],
        ["all", 0, 999],
      ])("reads a range: %s", async (_, start, end) => {
        const bytes = randomBytes(1_000);
        await create("object", bytes);
        const object = await store.get("object", { range: { start, end } });
        expect(object?.size, "size is that of the whole object").toBe(1_000);
        expect(await read(object)).toEqual(plain(bytes.subarray(start, end + 1)));
      });

      it("reads a range of an object that was streamed", async () => {
        const bytes = randomBytes(2 * store.partBytes + 1_000);
        await store.write("streamed", source(bytes, 100_000));
        const [start, end] = [store.partBytes - 10, store.partBytes + 400_000];
        const object = await store.get("streamed", { range: { start, end } });
        expect(object?.size).toBe(bytes.length);
        expectSame(await read(object), bytes.subarray(start, end + 1));
      });

      it("reads an empty object", async () => {
        await create("empty", new Uint8Array());
        const object = await store.get("empty");
        expect(object?.size).toBe(0);
        expect(await read(object)).toEqual(new Uint8Array());
      });

      it("gives a body that can be left early, again and again", async () => {
        const size = store.partBytes + 1_000;
        await store.write("streamed", source(randomBytes(size), 65_536));
        for (let i = 0; i < 100; i++) {
          const object = await store.get("streamed");
          // Stops at the first chunk.
          for await (const chunk of object?.body ?? []) {
            expect(chunk.length).toBeGreaterThan(0);
            break;
          }
        }
        expect((await read(await store.get("streamed"))).length).toBe(size);
      });

      it("reads on in the state that it began with while the object is replaced", async () => {
        const [before, after] = [randomBytes(600_000), randomBytes(700_000)];
        const etag = await create("object", before);
        const body = (await store.get("object"))?.body[Symbol.asyncIterator]();
        const chunks: Uint8Array[] = [];
        for (let next = await body?.next(); next?.done === false; next = await body?.next()) {
          if (chunks.length === 0) etagOf(await store.put("object", after, { condition: { etag } }));
          chunks.push(next.value);
        }
        expectSame(Buffer.concat(chunks), before);
        expectSame(await read(await store.get("object")), after);
      });

      it("ends its body when the signal fires", async () => {
        await store.write("streamed", source(randomBytes(3 * store.partBytes), 1_000_000));
        const controller = new AbortController();
        const object = await store.get("streamed", { signal: controller.signal });
        const reason = new Error("stop reading");
        const reading = (async () => {
          for await (const _ of object?.body ?? []) controller.abort(reason);
        })();
        await expect(reading).rejects.toBe(reason);
      });
    });

    describe("write", () => {
      it.each([
        ["nothing", () => 0, 1_000],
        ["a few bytes", () => 1_000, 300],
        ["exactly two parts", ({ partBytes }: ObjectStore) => 2 * partBytes, 1_048_576],
        ["more than two parts, in chunks of an odd size", ({ partBytes }: ObjectStore) => 2 * partBytes + 7, 70_001],
        [
          "one chunk of more than two parts",
          ({ partBytes }: ObjectStore) => 2 * partBytes + 1,
          Number.MAX_SAFE_INTEGER,
        ],
      ])("streams %s", async (_, sizeIn, chunkBytes) => {
        const bytes = randomBytes(sizeIn(store));
        expect((await store.write("staging/a b+c", source(bytes, chunkBytes))).outcome).toBe("written");
        const object = await store.get("staging/a b+c");
        expect(object?.size).toBe(bytes.length);
        expectSame(await read(object), bytes);
        expect(await listKeys(store, "staging/")).toEqual(["staging/a b+c"]);
        expect(await opened.leftovers()).toEqual([]);
      });

      it.each([
        ["before its first byte", () => 0],
        ["in its first part", () => 1_000],
        ["in a later part", ({ partBytes }: ObjectStore) => Math.floor(1.5 * partBytes)],
        ["before its last byte", ({ partBytes }: ObjectStore) => 2 * partBytes + 999],
        ["after its last byte", ({ partBytes }: ObjectStore) => 2 * partBytes + 1_000],
      ])("rejects with the error of a body that fails %s, and leaves nothing", async (_, failAt) => {
        const bytes = randomBytes(2 * store.partBytes + 1_000);
        const error = new Error("the body failed");
        for (const condition of ["absent", undefined] as const) {
          const body = failing(bytes.subarray(0, failAt(store)), error);
          await expect(store.write("object", { size: bytes.length, body }, { condition })).rejects.toBe(error);
          await expectNothingStored("object");
        }
      });

      it.each([
        ["shorter", -1],
        ["longer", 1],
      ])("leaves nothing when the body is %s than announced", async (_, moreBytes) => {
        for (const size of [1_000, store.partBytes, 2 * store.partBytes]) {
          const body = inChunks(randomBytes(size + moreBytes), 500_000);
          await expect(store.write("object", { size, body })).rejects.toMatchObject({ code: "SIZE_INVALID" });
        }
        await expectNothingStored("object");
      });

      it("keeps the object when the body of its replacement fails", async () => {
        const bytes = randomBytes(store.partBytes + 1);
        const etag = await damage(keyOf(bytes), text("damaged"));
        const error = new Error("the body failed");
        const failed = { size: bytes.length, body: failing(bytes.subarray(0, 100), error) };
        await expect(store.write(keyOf(bytes), failed, { condition: { etag } })).rejects.toBe(error);
        expect((await store.head(keyOf(bytes)))?.etag).toBe(etag);
        expect(await opened.leftovers()).toEqual([]);
      });

      it.each([
        ["at its beginning", 0],
        ["in a later part", 1.5],
      ])("ends at once when the signal fires while the body stalls %s, and leaves nothing", async (_, parts) => {
        const bytes = randomBytes(2 * store.partBytes + 1_000);
        const controller = new AbortController();
        const stalled = stalling(bytes.subarray(0, Math.floor(parts * store.partBytes)));
        const { signal } = controller;
        const writing = store.write(
          "object",
          { size: bytes.length, body: stalled.body },
          { condition: "absent", signal },
        );
        const outcome = expect(writing).rejects.toThrow("stop storing");
        await stalled.reached;
        controller.abort(new Error("stop storing"));
        await outcome;
        await expectNothingStored("object");
      });

      it("can write an object after an attempt that failed", async () => {
        const bytes = randomBytes(store.partBytes + 1);
        const error = new Error("the body failed");
        const failed = { size: bytes.length, body: failing(bytes.subarray(0, -1), error) };
        await expect(store.write("object", failed, { condition: "absent" })).rejects.toBe(error);
        expect((await store.write("object", source(bytes), { condition: "absent" })).outcome).toBe("written");
        expectSame(await read(await store.get("object")), bytes);
      });

      /** Parts of an object of unknown length. */
      const blindPartBytes = 6 * 1024 * 1024;

      it.each([0, 1_000, blindPartBytes, blindPartBytes + 1, 2 * blindPartBytes])(
        "streams an object of unknown length with %i bytes",
        async (length) => {
          const bytes = randomBytes(length);
          const { body } = source(bytes);
          expect((await store.write("object", { size: undefined, body })).outcome).toBe("written");
          expectSame(await read(await store.get("object")), bytes);
        },
      );

      it.each([1_000, blindPartBytes + 1])(
        "stores nothing of an object of unknown length whose body fails after %i bytes",
        async (length) => {
          const error = new Error("the body failed");
          const failed = { size: undefined, body: failing(randomBytes(length), error) };
          await expect(store.write("object", failed)).rejects.toBe(error);
          await expectNothingStored("object");
        },
      );

      it.each([undefined, 10 * 1024 * 1024])("says how much it holds of %s bytes", (size) => {
        const bytes = store.writeBufferBytes(size);
        expect(Number.isSafeInteger(bytes) && bytes >= 0, `found ${bytes}`).toBe(true);
      });
    });

    describe.each(ways)("%s", (way) => {
      /** Some bytes for `put`, more than a part for `write`. */
      const someBytes = (): Uint8Array => randomBytes(way === "put" ? 1_000 : store.partBytes + 1);
      const isConditional = way === "put" || writeIsConditional;

      it("creates an object that is absent, and leaves one that is there as it is", async () => {
        const bytes = someBytes();
        expect(await send(way, store, keyOf(bytes), bytes, { condition: "absent" })).toBe("written");
        const before = await store.head(keyOf(bytes));
        const again = await send(way, store, keyOf(bytes), bytes, { condition: "absent" });
        if (isConditional) {
          expect(again).toBe("conflict");
          expect(await store.head(keyOf(bytes))).toEqual(before);
        }
        expectSame(await read(await store.get(keyOf(bytes))), bytes);
        expect(await opened.leftovers()).toEqual([]);
      });

      it("lets many create the same object at once", async () => {
        const bytes = someBytes();
        const handles = [store, await opened.reopen()];
        const outcomes = await Promise.all(
          [0, 1, 2, 3].map((i) => send(way, at(handles, i % 2), keyOf(bytes), bytes, { condition: "absent" })),
        );
        expect(outcomes).toContain("written");
        expectSame(await read(await store.get(keyOf(bytes))), bytes);
        expect(await opened.leftovers()).toEqual([]);
      });

      it.each(["blobs/sha256/0123", "index.json"])("replaces an object by its ETag, and no other: %s", async (key) => {
        const bytes = someBytes();
        const etag = await damage(key, text("damaged"));
        expect(await send(way, store, key, bytes, { condition: { etag } })).toBe("written");
        const replaced = await store.head(key);
        expect(replaced?.size).toBe(bytes.length);
        expect(replaced?.etag).not.toBe(etag);
        if (isConditional) {
          expect(await send(way, store, key, bytes, { condition: { etag } })).toBe("conflict");
          expect(await store.head(key)).toEqual(replaced);
        }
        expectSame(await read(await store.get(key)), bytes);
        expect(await opened.leftovers()).toEqual([]);
      });

      it("replaces an object of the same size by its ETag", async () => {
        const bytes = someBytes();
        const flipped = Uint8Array.from(bytes);
        flipped[500] = (flipped[500] ?? 0) ^ 1;
        const etag = await damage(keyOf(bytes), flipped);
        expect(await send(way, store, keyOf(bytes), bytes, { condition: { etag } })).toBe("written");
        expectSame(await read(await store.get(keyOf(bytes))), bytes);
      });

      it("writes without a condition, also over another object", async () => {
        const etag = await create("object", text("one"));
        etagOf(await store.put("object", text("two"), { condition: { etag } }));
        const bytes = someBytes();
        expect(await send(way, await opened.reopen(), "object", bytes)).toBe("written");
        expectSame(await read(await store.get("object")), bytes);
        expect(await listKeys(store, "")).toEqual(["object"]);
      });

      it("can create an object again that was deleted", async () => {
        const bytes = someBytes();
        await send(way, store, keyOf(bytes), bytes, { condition: "absent" });
        await store.delete(keyOf(bytes));
        expect(await send(way, store, keyOf(bytes), bytes, { condition: "absent" })).toBe("written");
      });

      it("writes nothing when the signal has fired before", async () => {
        const reason = new Error("too late");
        const signal = AbortSignal.abort(reason);
        for (const condition of ["absent", undefined] as const) {
          await expect(send(way, store, "object", someBytes(), { condition, signal })).rejects.toBe(reason);
        }
        await expectNothingStored("object");
      });
    });

    describe("put", () => {
      it("stores the empty object", async () => {
        etagOf(await store.put("empty", new Uint8Array()));
        expect((await store.head("empty"))?.size).toBe(0);
      });

      it("stores bytes that are named by their SHA-512", async () => {
        const bytes = randomBytes(1_000);
        const key = keyOf(bytes, "sha512");
        const put = async () => store.put(key, bytes, { condition: "absent", digest: digestOf(bytes, "sha512") });
        etagOf(await put());
        expect(await put()).toBe("conflict");
        expectSame(await read(await store.get(key)), bytes);
      });

      it("stores bytes that are a view into a larger buffer", async () => {
        const bytes = randomBytes(10_000).subarray(3_000, 5_000);
        await store.put("view", bytes);
        expectSame(await read(await store.get("view")), bytes);
      });

      it("stores more than a part", async () => {
        const bytes = randomBytes(store.partBytes + 1);
        await store.put("object", bytes);
        expectSame(await read(await store.get("object")), bytes);
      });

      it("leaves one whole object if many write it at once", async () => {
        const candidates = Array.from({ length: 8 }, (_, i) => `written by ${i}`);
        await inParallel(candidates, (candidate) => store.put("object", text(candidate)));
        expect(candidates).toContain(new TextDecoder().decode(await read(await store.get("object"))));
      });

      it("creates an object that is absent, once", async () => {
        const etag = await create("index.json", text("one"));
        expect(await store.put("index.json", text("two"), { condition: "absent" })).toBe("conflict");
        expect(pick(await store.head("index.json"))).toEqual({ key: "index.json", size: 3, etag });
        expect(await read(await store.get("index.json"))).toEqual(text("one"));
      });

      it("replaces the state whose ETag it is given, and no other", async () => {
        const first = await create("index.json", text("one"));
        const second = etagOf(await store.put("index.json", text("three"), { condition: { etag: first } }));
        expect(await store.put("index.json", text("stale"), { condition: { etag: first } })).toBe("conflict");
        expect(pick(await store.head("index.json"))).toEqual({ key: "index.json", size: 5, etag: second });
        expect(await read(await store.get("index.json"))).toEqual(text("three"));
      });

      it("replaces a state that another handle wrote", async () => {
        const first = await create("index.json", text("one"));
        const other = await opened.reopen();
        const second = etagOf(await other.put("index.json", text("two"), { condition: { etag: first } }));
        expect(await store.put("index.json", text("stale"), { condition: { etag: first } })).toBe("conflict");
        etagOf(await store.put("index.json", text("three"), { condition: { etag: second } }));
        expect(await read(await other.get("index.json"))).toEqual(text("three"));
      });

      it("does not create an object where one with an ETag is expected", async () => {
        const etag = await create("index.json", text("one"));
        await store.delete("index.json");
        expect(await store.put("index.json", text("two"), { condition: { etag } })).toBe("conflict");
        expect(await store.put("other.json", text("two"), { condition: { etag } })).toBe("conflict");
        expect(await listAll(store, ""), "the backend returned a conflict but stored the object anyway").toEqual([]);
      });

      it("creates anew what was deleted, also after it was replaced", async () => {
        const first = await create("index.json", text("one"));
        const second = etagOf(await store.put("index.json", text("two"), { condition: { etag: first } }));
        await store.delete("index.json");
        expect(await store.head("index.json")).toBeUndefined();
        expect(await store.get("index.json")).toBeUndefined();
        const third = await create("index.json", text("three"));
        expect(await store.put("index.json", text("stale"), { condition: { etag: second } })).toBe("conflict");
        etagOf(await store.put("index.json", text("four"), { condition: { etag: third } }));
        expect(await read(await store.get("index.json"))).toEqual(text("four"));
      });

      it("gives each state an ETag of its own", async () => {
        const etags = [await create("counter", text("0"))];
        for (let i = 1; i <= 9; i++) {
          etags.push(etagOf(await store.put("counter", text(String(i)), { condition: { etag: at(etags, i - 1) } })));
        }
        expect(new Set(etags).size).toBe(10);
        expect((await store.head("counter"))?.etag).toBe(etags[9]);
      });

      it("swaps by requests that are sent once and can be ended by a signal, as by any other", async () => {
        const { signal } = new AbortController();
        const options = { once: true, signal };
        const etag = etagOf(await store.put("index.json", text("one"), { condition: "absent", ...options }));
        expect(await store.put("index.json", text("two"), { condition: "absent", ...options })).toBe("conflict");
        etagOf(await store.put("index.json", text("two"), { condition: { etag }, ...options }));
        expect(await read(await store.get("index.json", { signal }))).toEqual(text("two"));
        await store.delete("index.json", options);
        expect(await store.head("index.json", { signal })).toBeUndefined();
      });

      /** Races `racers` writers through two handles; expects one winner, and that the object is what it wrote. */
      async function race(condition: PutCondition): Promise<void> {
        const handles = [store, await opened.reopen()];
        const results = await Promise.all(
          Array.from({ length: racers }, (_, i) => at(handles, i % 2).put("raced", text(`writer ${i}`), { condition })),
        );
        const winners = results.flatMap((result, i) => (result === "conflict" ? [] : [{ i, etag: etagOf(result) }]));
        expect(winners.length, `${winners.length} of ${racers} racing writers won, expected 1`).toBe(1);
        const { i, etag } = at(winners, 0);
        expect((await store.head("raced"))?.etag).toBe(etag);
        expect(await read(await store.get("raced"))).toEqual(text(`writer ${i}`));
        expect(await opened.leftovers()).toEqual([]);
      }

      it(`lets one of ${racers} racing creators win`, async () => {
        await race("absent");
      });

      it(`lets one of ${racers} racing swappers win`, async () => {
        await race({ etag: await create("raced", text("before")) });
      });

      it("loses no increment of a counter that 10 loops raise at once", async () => {
        const handles = [store, await opened.reopen()];
        await create("counter", text("0"));
        await Promise.all(Array.from({ length: 10 }, (_, i) => increment(at(handles, i % 2), "counter", 5)));
        expect(await read(await store.get("counter"))).toEqual(text("50"));
      });
    });

    // A store without one has nothing to keep here.
    describe("presigner", () => {
      const bytes = text("twelve bytes");

      it("makes URLs that take exactly so many bytes, and give them back", async () => {
        const { presigner } = store;
        if (presigner === undefined) return;
        const target = await presigner.presignPut("staging/upload/1", { seconds: 60, size: bytes.length });
        for (const wrong of ["elevenbytes", "thirteen byte", ""]) {
          const response = await fetch(target, { method: "PUT", body: wrong });
          expect(response.status, `sent ${wrong.length} bytes, expected 12`).toBe(403);
          await response.body?.cancel();
        }
        expect(await listAll(store, ""), "the backend refused the bytes but stored them").toEqual([]);
        for (const status of [200, 200]) {
          expect((await fetch(target, { method: "PUT", body: new Uint8Array(bytes) })).status).toBe(status);
        }
        const origin = await presigner.presignGet("staging/upload/1", { seconds: 60 });
        expect(new Uint8Array(await (await fetch(origin)).arrayBuffer())).toEqual(bytes);
        const range = await fetch(origin, { headers: { Range: "bytes=0-5" } });
        expect([range.status, await range.text()]).toEqual([206, "twelve"]);
      });

      it("makes URLs that are good for their object, their method and their time alone", async () => {
        const { presigner } = store;
        if (presigner === undefined) return;
        await store.put("staging/upload/1", bytes);
        await store.put("staging/upload/2", bytes);
        const origin = await presigner.presignGet("staging/upload/1", { seconds: 1 });
        const statusOf = async (url: string, init?: RequestInit): Promise<number> => {
          const response = await fetch(url, init);
          await response.body?.cancel();
          return response.status;
        };
        expect(await statusOf(origin)).toBe(200);
        expect(await statusOf(origin.replace("staging/upload/1", "staging/upload/2"))).toBe(403);
        expect(await statusOf(origin, { method: "DELETE" })).toBe(403);
        await new Promise((resolve) => setTimeout(resolve, 2_500));
        expect(await statusOf(origin)).toBe(403);
      });
    });

    describeCopy(() => ({ store, opened, expectNothingStored, damage }));
    const describeFrom = copiesFrom ? describeCopyFrom : describeNoCopyFrom;
    describeFrom(() => ({ store, opened, expectNothingStored, damage }));

    describe("list", () => {
      it("lists nothing in an empty store", async () => {
        expect(await listAll(store, "")).toEqual([]);
        expect(await listAll(store, "blobs/")).toEqual([]);
      });

      it("lists whole keys by prefix", async () => {
        const keys = ["a-b", "a.b/c", "a/a/z", "a/b", "a/b-c", "a/c/d/e", "a0", "a_b", "b/a", "oci-layout"];
        await inParallel(keys, (key) => create(key, text(key)));
        expect(await listKeys(store, "")).toEqual(keys);
        expect(await listKeys(store, "a")).toEqual(keys.slice(0, 8));
        expect(await listKeys(store, "a/")).toEqual(["a/a/z", "a/b", "a/b-c", "a/c/d/e"]);
        expect(await listKeys(store, "a/b")).toEqual(["a/b", "a/b-c"]);
        expect(await listKeys(store, "a/b/")).toEqual([]);
        expect(await listKeys(store, "a/c/d/e")).toEqual(["a/c/d/e"]);
        expect(await listKeys(store, "nothing")).toEqual([]);
        expect(await listKeys(store, "nothing/here/")).toEqual([]);
      });

      it("tells when an object was written", async () => {
        await create("put", text("1"));
        await store.write("streamed", source(randomBytes(2 * store.partBytes + 1), 100_000));
        await create("source", text("2"));
        await store.copy("source", "copied", { size: 1 });
        await store.delete("source"); // it may be gone already
        const minutesAgo: number[] = [];
        for await (const { modifiedMs } of store.list("")) minutesAgo.push(Math.abs(Date.now() - modifiedMs) / 60_000);
        expect(minutesAgo).toHaveLength(3);
        expect(Math.max(...minutesAgo)).toBeLessThan(10);
      });

      it(`lists ${listedObjects} objects, page after page`, async () => {
        const keys = Array.from({ length: listedObjects }, (_, i) => `many/${String(i).padStart(5, "0")}`);
        await inParallel(keys, (key) => create(key, text(key)));
        const listed = await listAll(store, "many/");
        expect(listed.map(({ key }) => key).toSorted()).toEqual(keys);
        expect(new Set(listed.map(({ size }) => size))).toEqual(new Set([10]));
      });

      it("can be left early", async () => {
        await inParallel(["a", "b", "c"], (key) => create(key, text(key)));
        for await (const { key } of store.list("")) {
          expect(key).toBe("a");
          break;
        }
      });
    });

    describe("delete", () => {
      it("deletes one object, and none that is not there", async () => {
        await create("a/b", text("1"));
        await create("a/c", text("2"));
        await store.delete("a/b");
        await store.delete("a/b");
        await store.delete("nothing/here");
        expect(await store.get("a/b")).toBeUndefined();
        expect(await listKeys(store, "")).toEqual(["a/c"]);
      });

      it("deletes no object of which it is given only the beginning", async () => {
        await create("a/b/c", text("1"));
        const etag = await create("a/b/d", text("2"));
        etagOf(await store.put("a/b/d", text("3"), { condition: { etag } }));
        await store.delete("a/b");
        await store.delete("a");
        expect(await listKeys(store, "")).toEqual(["a/b/c", "a/b/d"]);
      });
    });

    it("rejects each call whose signal has fired before with its reason", async () => {
      await create("object", text("1"));
      const reason = new Error("too late");
      const signal = AbortSignal.abort(reason);
      await expect(store.head("object", { signal })).rejects.toBe(reason);
      await expect(store.get("object", { signal })).rejects.toBe(reason);
      await expect(store.delete("object", { signal })).rejects.toBe(reason);
      await expect(listAll(store, "", signal)).rejects.toBe(reason);
      expect((await store.head("object"))?.size, "the backend returned an error but deleted anyway").toBe(1);
    });
  });
}
