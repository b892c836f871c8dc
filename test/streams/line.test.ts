/** One line for memory, turns and connections: fair by caller, then by arrival, and never held up by a request that is gone. */
import { setMaxListeners } from "node:events";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Line, type Release } from "../../src/streams/line.ts";

const never = new AbortController().signal;
setMaxListeners(0, never);

function newLine(capacity: number): Line {
  return new Line({ capacity, units: "loads", limit: "maxLoads" });
}

/** Asks for units, and notes in `log` when they were given. */
function ask(line: Line, caller: string, amount = 1, log: string[] = []): Promise<Release> {
  return line.acquire(amount, { caller, signal: never }).then((release) => {
    log.push(caller);
    return release;
  });
}

async function takeAll(line: Line, caller: string, count: number): Promise<Release[]> {
  return Promise.all(Array.from({ length: count }, async () => ask(line, caller)));
}

describe("Line", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("lets a caller that is alone hold everything", async () => {
    const line = newLine(4);
    await takeAll(line, "a", 4);
    expect([line.held, line.isCrowded]).toEqual([4, false]);
  });

  it("gives what is free to the caller that holds least, then to whichever request came first", async () => {
    const line = newLine(4);
    const [first, second, third] = await takeAll(line, "a", 4);
    const log: string[] = [];
    for (const caller of ["a", "a", "b", "c", "b"]) void ask(line, caller, 1, log);
    for (const release of [first, second, third]) {
      release?.();
      await vi.advanceTimersByTimeAsync(0);
    }
    expect(log).toEqual(["b", "c"]); // a third of four units is one for each of three callers
  });

  it("holds a caller to its share while another is present, and for ten seconds after", async () => {
    const line = newLine(4);
    (await ask(line, "b"))();
    const log: string[] = [];
    for (let i = 0; i < 4; i++) void ask(line, "a", 1, log);
    await vi.advanceTimersByTimeAsync(9000);
    expect(log).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(2000);
    expect(log).toHaveLength(4);
  });

  it("lets a caller have more than its share while half of the units stay free for others", async () => {
    const line = newLine(12);
    for (const caller of ["b", "c", "d", "e", "f"]) (await ask(line, caller))();
    const log: string[] = [];
    for (let i = 0; i < 12; i++) void ask(line, "a", 1, log);
    await vi.advanceTimersByTimeAsync(1000);
    expect(log).toHaveLength(6); // its share is two
    (await ask(line, "b"))();
    expect(line.isOverdrawn("a")).toBe(false);
    await vi.advanceTimersByTimeAsync(1000);
    expect(log).toHaveLength(6);
  });

  it("serves the requests of one caller in their order, so that a large one is not overtaken for ever", async () => {
    const line = newLine(10);
    (await ask(line, "b"))();
    const first = await ask(line, "a", 4);
    const log: string[] = [];
    void line.acquire(8, { caller: "a", signal: never }).then(() => log.push("large"));
    void line.acquire(1, { caller: "a", signal: never }).then(() => log.push("small"));
    await vi.advanceTimersByTimeAsync(1000);
    expect(log).toEqual([]);
    first();
    await vi.advanceTimersByTimeAsync(0);
    expect(log[0]).toBe("large");
  });

  it("does not call a caller overdrawn because of one that waits for more than its own share", async () => {
    const line = newLine(4);
    const [first] = await takeAll(line, "a", 4);
    first?.();
    await ask(line, "b");
    void ask(line, "b", 2);
    await vi.advanceTimersByTimeAsync(1000);
    expect([line.isOverdrawn("a"), line.isOverdrawn("b")]).toEqual([false, false]);
  });

  it("gives at once what can be had without waiting, and nothing otherwise", async () => {
    const line = newLine(2);
    const release = line.tryAcquire(2, { caller: "a" });
    expect(line.tryAcquire(1, { caller: "b" })).toBeUndefined();
    release?.();
    expect(line.held).toBe(0);
    line.tryAcquire(1, { caller: "b" })?.();
    expect(line.isCrowded).toBe(false);
  });

  it("lets a caller have one hold that is larger than its share", async () => {
    const line = newLine(10);
    (await ask(line, "b"))();
    const release = await ask(line, "a", 8);
    expect(line.held).toBe(8);
    release();
  });

  it("serves a large request before smaller ones that came later", async () => {
    const line = newLine(10);
    const release = await ask(line, "a", 6);
    const log: string[] = [];
    void line.acquire(8, { caller: "b", signal: never }).then(() => log.push("large"));
    void line.acquire(1, { caller: "b", signal: never }).then(() => log.push("small"));
    await vi.advanceTimersByTimeAsync(1000);
    expect(log).toEqual([]);
    release();
    await vi.advanceTimersByTimeAsync(0);
    expect(log[0]).toBe("large");
  });

  it("does not count a hold that its request keeps while it waits for another", async () => {
    const line = newLine(10);
    (await ask(line, "b"))();
    await line.acquire(4, { caller: "a", signal: never, isCounted: false });
    await line.acquire(5, { caller: "a", signal: never });
    expect(line.held).toBe(9);
  });

  it("tells a caller apart that holds more than its share while another waits", async () => {
    const line = newLine(4);
    const releases = await takeAll(line, "a", 4);
    expect(line.isOverdrawn("a")).toBe(false);
    const waiting = ask(line, "b");
    expect([line.isOverdrawn("a"), line.isOverdrawn("b"), line.isCrowded]).toEqual([true, false, true]);
    releases[0]?.();
    await waiting;
    expect(line.isOverdrawn("a")).toBe(false);
  });

  it("refuses after the longest wait, and says what is in use", async () => {
    const line = newLine(1);
    await ask(line, "a");
    const refused = line.acquire(1, { caller: "b", signal: never, maxWaitMs: 10_000 });
    const checked = expect(refused).rejects.toMatchObject({
      code: "TOOMANYREQUESTS",
      message:
        "Cannot go on now: all 1 loads that are allowed at once (maxLoads) were in use for 10 seconds; " +
        "callers share them; try again later",
    });
    await vi.advanceTimersByTimeAsync(10_000);
    await checked;
    expect(line.isCrowded).toBe(false);
  });

  it("ends the waiting when the signal fires, and lets the next one go on", async () => {
    const line = newLine(2);
    const release = await ask(line, "a");
    const ended = new AbortController();
    const large = line.acquire(2, { caller: "b", signal: ended.signal });
    const small = ask(line, "c");
    ended.abort(new Error("gone"));
    await expect(large).rejects.toThrow("gone");
    (await small)();
    release();
    expect(line.held).toBe(0);
  });

  it("takes units back once, however often they are released", async () => {
    const line = newLine(2);
    const release = await ask(line, "a");
    release();
    release();
    expect(line.held).toBe(0);
  });

  it("forgets a hold whose request no longer runs, after a minute", async () => {
    const line = newLine(1);
    const setInterval = vi
      .spyOn(globalThis, "setInterval")
      .mockImplementationOnce(() => setTimeout(() => undefined, 0));
    const release = await ask(line, "a"); // on Workers its timers end with it
    setInterval.mockRestore();
    const log: string[] = [];
    const next = ask(line, "b", 1, log);
    await vi.advanceTimersByTimeAsync(59_000);
    expect(log).toEqual([]);
    await vi.advanceTimersByTimeAsync(25_000);
    await next;
    expect(log).toEqual(["b"]);
    release();
    expect(line.held).toBe(1);
  });

  it.each([3, -3])("neither loses units nor waits for longer when the clock is set by %d hours", async (hours) => {
    const line = newLine(1);
    await ask(line, "a");
    const log: string[] = [];
    const refused = line.acquire(1, { caller: "b", signal: never, maxWaitMs: 10_000 });
    const checked = expect(refused).rejects.toMatchObject({ code: "TOOMANYREQUESTS" });
    void ask(line, "c", 1, log);
    await vi.advanceTimersByTimeAsync(6000);
    vi.setSystemTime(Date.now() + hours * 60 * 60 * 1000);
    await vi.advanceTimersByTimeAsync(4000);
    await checked;
    await vi.advanceTimersByTimeAsync(20_000);
    expect([log, line.held]).toEqual([[], 1]);
  });

  it("keeps the holds of a process that was stopped for minutes", async () => {
    const line = newLine(1);
    await ask(line, "a");
    const log: string[] = [];
    void ask(line, "b", 1, log);
    await vi.advanceTimersByTimeAsync(6100);
    const now = performance.now.bind(performance);
    const stopped = vi.spyOn(performance, "now").mockImplementation(() => now() + 300_000);
    await vi.advanceTimersByTimeAsync(60_000);
    stopped.mockRestore();
    expect([log, line.held]).toEqual([[], 1]);
  });

  it("keeps a hold whose request runs on for hours", async () => {
    const line = newLine(1);
    await ask(line, "a");
    const log: string[] = [];
    void ask(line, "b", 1, log);
    await vi.advanceTimersByTimeAsync(3 * 60 * 60 * 1000);
    expect(log).toEqual([]);
  });
});
