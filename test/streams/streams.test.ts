import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { abortable } from "../../src/streams/abortable.ts";
import { ByteBudget } from "../../src/streams/byte-budget.ts";
import { ByteReader } from "../../src/streams/byte-reader.ts";
import { handOver } from "../../src/streams/chunk-memory.ts";
import { collectBytes } from "../../src/streams/collect-bytes.ts";
import { bytesToReadable, readableToBytes } from "../../src/streams/readable-stream.ts";
import type { SilenceLimits } from "../../src/streams/silence.ts";
import { VerifiedBytes } from "../../src/streams/verify-bytes.ts";
import { WatchedSource } from "../../src/streams/watched-source.ts";
import { chunksOf, randomBytes, readAll, sha256, stallAfter } from "../support/bytes.ts";

const never = new AbortController().signal;

describe("VerifiedBytes", () => {
  const bytes = randomBytes(1000);
  const right = { digest: sha256(bytes), size: bytes.length };

  it.each([1, 7, 999, 1000])("passes right bytes in chunks of %i", async (size) => {
    expect(await readAll(new VerifiedBytes(chunksOf(bytes, size), right))).toEqual(bytes);
  });

  it.each([
    ["a wrong digest", { ...right, digest: sha256(randomBytes(3)) }, "DIGEST_INVALID"],
    ["too few bytes", { ...right, size: 1001 }, "SIZE_INVALID"],
    ["too many bytes", { ...right, size: 999 }, "SIZE_INVALID"],
  ])("throws on %s before it lets go of the last chunk", async (_, expected, code) => {
    let passed = 0;
    const read = async (): Promise<void> => {
      for await (const chunk of new VerifiedBytes(chunksOf(bytes, 100), expected)) passed += chunk.length;
    };
    await expect(read()).rejects.toMatchObject({ code });
    expect(passed).toBeLessThan(bytes.length);
  });

  it("says what it found and what it expected", async () => {
    const read = readAll(new VerifiedBytes(chunksOf(bytes, 100), { ...right, size: 1200 }));
    await expect(read).rejects.toThrow(`Cannot take blob "${right.digest}": received 1000 bytes, expected 1200`);
  });

  it("passes no bytes at all where none are expected", async () => {
    const empty = new Uint8Array(0);
    expect(await readAll(new VerifiedBytes(chunksOf(empty, 1), { digest: sha256(empty), size: 0 }))).toHaveLength(0);
  });
});

describe("handOver", () => {
  const bytes = randomBytes(3000);
  const expected = { digest: sha256(bytes), size: bytes.length };
  /** Three chunks, each in memory of its own. */
  const makeChunks = (): Uint8Array[] => [0, 1000, 2000].map((at) => Uint8Array.from(bytes.subarray(at, at + 1000)));
  async function* sourceOf(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array, undefined> {
    yield* chunks;
  }
  const handedOver = (chunks: readonly Uint8Array[]): AsyncIterable<Uint8Array> => ({
    [Symbol.asyncIterator]: () => handOver(sourceOf(chunks)),
  });

  it("frees chunks that are collected", async () => {
    const chunks = makeChunks();
    expect(await collectBytes(handedOver(chunks), 3000)).toEqual(bytes);
    expect(chunks.map(({ length }) => length)).toEqual([0, 0, 0]);
  });

  it("frees chunks that are only verified", async () => {
    const chunks = makeChunks();
    await new VerifiedBytes(handedOver(chunks), expected).drain();
    expect(chunks.map(({ length }) => length)).toEqual([0, 0, 0]);
  });

  it("leaves chunks that share their memory", async () => {
    const whole = Uint8Array.from(bytes);
    const chunks = [whole.subarray(0, 1000), whole.subarray(1000)];
    expect(await collectBytes(handedOver(chunks), 3000)).toEqual(bytes);
    expect(Buffer.from(whole)).toEqual(bytes);
  });

  it("leaves the chunks of a source that has not handed them over", async () => {
    const chunks = makeChunks();
    expect(await collectBytes(sourceOf(chunks), 3000)).toEqual(bytes);
    expect(chunks.map(({ length }) => length)).toEqual([1000, 1000, 1000]);
  });
});

describe("ByteBudget", () => {
  it("makes who comes later wait until bytes are given back, in order", async () => {
    const budget = new ByteBudget(100);
    const order: string[] = [];
    const first = await budget.take(80, { signal: never });
    const second = budget.take(50, { signal: never }).then((release) => (order.push("second"), release));
    const third = budget.take(10, { signal: never }).then((release) => (order.push("third"), release));
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(order).toEqual([]); // the third would fit, but must not overtake
    first();
    await Promise.all([second, third]);
    expect(order).toEqual(["second", "third"]);
  });

  it("gives bytes back once, however often it is told to", async () => {
    const budget = new ByteBudget(100);
    const release = await budget.take(100, { signal: never });
    release();
    release();
    await budget.take(100, { signal: never });
    await expect(budget.take(1, { signal: AbortSignal.timeout(10) })).rejects.toMatchObject({ name: "TimeoutError" });
  });

  it("lets the next one in when a waiting one is aborted", async () => {
    const budget = new ByteBudget(100);
    await budget.take(50, { signal: never });
    const controller = new AbortController();
    const large = budget.take(60, { signal: controller.signal });
    const small = budget.take(50, { signal: never });
    controller.abort(new Error("gone"));
    await expect(large).rejects.toThrow("gone");
    await expect(small).resolves.toBeTypeOf("function");
  });

  it("refuses what can never fit and names the limit", async () => {
    await expect(new ByteBudget(100).take(101, { signal: never })).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
      message: expect.stringContaining("maxBufferBytes allows 100") as string,
    });
  });
});

describe("ByteBudget, of lasting shares", () => {
  const mebibyte = 1024 * 1024;
  const budget = (): ByteBudget => new ByteBudget(64 * mebibyte);
  const isGranted = async (taking: Promise<unknown>): Promise<boolean> =>
    Promise.race([taking.then(() => true), new Promise<false>((resolve) => setTimeout(() => resolve(false), 5))]);

  it("leaves what one blob takes, however many there are", async () => {
    const shared = budget();
    const windows = Array.from({ length: 6 }, async () => shared.takeLasting(8 * mebibyte, { signal: never }));
    expect(await Promise.all(windows.map(isGranted))).toEqual(windows.map((_, i) => i < 4));
    expect(await isGranted(shared.take(32 * mebibyte, { signal: never }))).toBe(true);
    (await windows[0])?.();
    expect(await isGranted(windows[4] ?? Promise.reject(new Error("expected a fifth")))).toBe(true);
  });

  it("lets in one that is too large, by itself", async () => {
    for (const shared of [budget(), new ByteBudget(1000)]) {
      const first = await shared.takeLasting(128 * mebibyte, { signal: never });
      const second = shared.takeLasting(1, { signal: never });
      expect(await isGranted(second)).toBe(false);
      expect(await isGranted(shared.take(Math.min(shared.maxBytes, 32 * mebibyte), { signal: never }))).toBe(true);
      first();
      expect(await isGranted(second)).toBe(true);
    }
  });

  it("gives up its turn when it is aborted while it waits", async () => {
    const shared = budget();
    const blobs = await Promise.all([0, 1].map(async () => shared.take(32 * mebibyte, { signal: never })));
    await expect(shared.takeLasting(32 * mebibyte, { signal: AbortSignal.timeout(5) })).rejects.toMatchObject({
      name: "TimeoutError",
    });
    for (const release of blobs) release();
    expect(await isGranted(shared.takeLasting(32 * mebibyte, { signal: never }))).toBe(true);
  });

  it("refuses a blob that would need more than they leave", async () => {
    await expect(budget().take(33 * mebibyte, { signal: never })).rejects.toThrow(
      /allows 67108864 .*, 33554432 for one blob$/,
    );
  });
});

describe("WatchedSource, of a silent source", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  /** For how many seconds a source is read that falls silent after its first bytes, or at once. */
  async function secondsUntilEnd(limits: SilenceLimits, source = stallAfter(randomBytes(10))): Promise<number> {
    const begun = Date.now();
    let ended = Number.NaN;
    const read = readAll(new WatchedSource(source, limits)).finally(() => (ended = Date.now()));
    const rejected = expect(read).rejects.toMatchObject({
      code: "TIMED_OUT",
      message: expect.stringContaining("(maxIdleSeconds)") as string,
    });
    await vi.advanceTimersByTimeAsync(1_000_000);
    await rejected;
    return (ended - begun) / 1000;
  }

  async function* silence(): AsyncGenerator<Uint8Array> {
    yield await new Promise<never>(() => undefined);
  }

  it("ends a source that is silent for as long as is allowed", async () => {
    expect(await secondsUntilEnd({ maxIdleSeconds: 300 })).toBe(300);
    expect(await secondsUntilEnd({ maxIdleSeconds: 300, isCrowded: () => false })).toBe(300);
    expect(await secondsUntilEnd({ maxIdleSeconds: 7, isCrowded: () => true })).toBe(7);
  });

  it("ends it sooner where others wait for memory, but not before its first byte", async () => {
    expect(await secondsUntilEnd({ maxIdleSeconds: 300, isCrowded: () => true })).toBe(20);
    let asked = 0;
    expect(await secondsUntilEnd({ maxIdleSeconds: 300, isCrowded: () => ++asked === 3 })).toBe(60);
    expect(await secondsUntilEnd({ maxIdleSeconds: 300, isCrowded: () => true }, silence())).toBe(300);
  });

  it("does not judge the pace of a source by how late it begins", async () => {
    async function* late(): AsyncGenerator<Uint8Array> {
      await new Promise((resolve) => setTimeout(resolve, 100_000));
      yield randomBytes(1);
      yield randomBytes(1);
    }
    const read = readAll(new WatchedSource(late(), { maxIdleSeconds: 300, isCrowded: () => true }));
    await vi.advanceTimersByTimeAsync(200_000);
    expect(await read).toHaveLength(2);
  });

  it.each<[string, number, number | undefined]>([
    ["a byte", 1, 21], // the first is not counted
    ["less than a kilobyte", 1023, 21],
    ["a kilobyte", 1024, undefined],
  ])("judges a source that brings %s a second while others wait for memory", async (_, bytes, seconds) => {
    async function* trickle(): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < 100; i++) {
        await new Promise((resolve) => setTimeout(resolve, 1000));
        yield randomBytes(bytes);
      }
    }
    const read = async (isCrowded: boolean): Promise<unknown> =>
      readAll(new WatchedSource(trickle(), { maxIdleSeconds: 300, isCrowded: () => isCrowded })).catch(
        (error: unknown) => error,
      );
    const begun = Date.now();
    const crowded = read(true).finally(() => expect((Date.now() - begun) / 1000).toBe(seconds ?? 100));
    const alone = read(false);
    await vi.advanceTimersByTimeAsync(200_000);
    expect(await alone).toHaveLength(100 * bytes);
    if (seconds === undefined) expect(await crowded).toHaveLength(100 * bytes);
    else expect(await crowded).toMatchObject({ code: "TIMED_OUT", detail: { expected: 20_480, seconds: 20 } });
  });

  it("does not count the time between two reads, and leaves no timer behind", async () => {
    const chunks = new WatchedSource(chunksOf(randomBytes(3), 1), { maxIdleSeconds: 5 });
    for (let i = 0; i < 3; i++) {
      expect((await chunks.next()).done).toBe(false);
      await vi.advanceTimersByTimeAsync(60_000);
    }
    expect((await chunks.next()).done).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("WatchedSource", () => {
  /** Chunks of one byte, and whether their source has been closed. */
  function ones(count: number): { readonly source: AsyncIterable<Uint8Array>; readonly isClosed: () => boolean } {
    let closed = false;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        for (let i = 0; i < count; i++) yield Uint8Array.of(i);
      } finally {
        closed = true;
      }
    }
    return { source: source(), isClosed: () => closed };
  }

  it("waits for the first bytes, gives them to the reader, and counts them once", async () => {
    const seen: number[] = [];
    async function* source(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(0);
      yield Uint8Array.of(1, 2);
      yield Uint8Array.of(3);
    }
    const watched = new WatchedSource(source());
    await watched.begin(never);
    watched.watch({ onChunk: ({ length }) => void seen.push(length) });
    expect(await readAll(watched)).toEqual(Buffer.from([1, 2, 3]));
    expect({ seen, bytes: watched.bytes }).toEqual({ seen: [2, 1], bytes: 3 });
  });

  it("watches for another signal once it is told to, and no longer for the first", async () => {
    const [first, second] = [new AbortController(), new AbortController()];
    const { source, isClosed } = ones(3);
    const watched = new WatchedSource(source);
    await watched.begin(first.signal);
    watched.watch({ signal: second.signal });
    first.abort(new Error("first"));
    expect((await watched.next()).done).toBe(false);
    second.abort(new Error("second"));
    await expect(watched.next()).rejects.toThrow("second");
    expect((await watched.next()).done).toBe(true);
    expect(isClosed()).toBe(true);
  });

  it.each(["onChunk", "onEnd"])("ends with what %s throws, and closes the source", async (hook) => {
    const { source, isClosed } = ones(2);
    const fail = (): never => {
      throw new Error("refused");
    };
    const onFailure = (error: unknown): Error => new Error("explained", { cause: error });
    const watched = new WatchedSource(source).watch({ [hook]: fail, onFailure });
    await expect(readAll(watched)).rejects.toMatchObject({ message: "explained", cause: { message: "refused" } });
    expect(isClosed()).toBe(true);
  });

  it("ends a read that waits when its reader leaves", async () => {
    const watched = new WatchedSource(stallAfter(randomBytes(10)));
    await watched.next();
    const waiting = watched.next();
    await watched.return();
    expect((await waiting).done).toBe(true);
  });
});

describe("abortable", () => {
  it("ends a stalled source with the signal's reason, and lets go of it", async () => {
    const controller = new AbortController();
    const read = readAll(abortable(stallAfter(randomBytes(10)), controller.signal));
    setTimeout(() => controller.abort(new Error("enough")), 10);
    await expect(read).rejects.toThrow("enough");
  });

  it("ends a source that stalls after the signal has fired", async () => {
    const controller = new AbortController();
    const read = async (): Promise<void> => {
      for await (const _ of abortable(stallAfter(randomBytes(10)), controller.signal))
        controller.abort(new Error("now"));
    };
    await expect(read()).rejects.toThrow("now");
  });

  it("closes the source when the reader leaves early", async () => {
    let closed = false;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield new Uint8Array(1);
      } finally {
        closed = true;
      }
    }
    for await (const _ of abortable(source(), never)) break;
    expect(closed).toBe(true);
  });
});

describe("ByteReader", () => {
  const bytes = randomBytes(100);

  it.each([1, 3, 64, 100])("peeks, reads and streams across chunks of %i", async (size) => {
    const reader = new ByteReader(chunksOf(bytes, size));
    expect(Buffer.from(await reader.peek(5))).toEqual(bytes.subarray(0, 5));
    expect(Buffer.from(await reader.read(7))).toEqual(bytes.subarray(0, 7));
    expect(await readAll(reader.stream(50))).toEqual(bytes.subarray(7, 57));
    expect(await readAll(reader.stream())).toEqual(bytes.subarray(57));
    expect(await reader.read(1)).toHaveLength(0);
  });
});

describe("bytesToReadable", () => {
  it("reads on only as fast as it is read, and ends the reading when it is cancelled", async () => {
    let read = 0;
    let closed = false;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        for (; ; read++) yield new Uint8Array(1);
      } finally {
        closed = true;
      }
    }
    const reader = bytesToReadable(source()).getReader();
    await reader.read();
    await reader.read();
    expect(read).toBeLessThanOrEqual(2);
    await reader.cancel();
    expect(closed).toBe(true);
  });

  it("gives back through readableToBytes what went in", async () => {
    const bytes = randomBytes(1000);
    expect(await readAll(readableToBytes(bytesToReadable(chunksOf(bytes, 77))))).toEqual(bytes);
    expect(await readAll(readableToBytes(null))).toHaveLength(0);
  });
});
