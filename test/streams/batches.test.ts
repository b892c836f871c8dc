import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { StowageError } from "../../src/errors.ts";
import { SharedWork } from "../../src/streams/batches.ts";

const maxMs = 1000;

/** One call of the work: it runs until the test ends it. */
interface Call {
  readonly end: (result: string) => void;
  readonly fail: (error: unknown) => void;
}

let shared: SharedWork<string>;
let calls: Call[];
const work = async (): Promise<string> => new Promise((end, fail) => calls.push({ end, fail }));
const ask = async (signal?: AbortSignal, key = "key"): Promise<string> => shared.resultOf(key, work, signal);
const called = async (times: number): Promise<void> => vi.waitFor(() => expect(calls).toHaveLength(times));

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  shared = new SharedWork(maxMs);
  calls = [];
});
afterEach(() => void vi.useRealTimers());

describe("SharedWork", () => {
  it("does the work once for all requests that come while it runs, and not before the running work is over", async () => {
    const first = ask();
    const others = [ask(), ask(), ask()];
    expect(calls).toHaveLength(1);
    calls[0]?.end("old");
    expect(await first).toBe("old");
    await called(2);
    calls[1]?.end("new");
    expect(await Promise.all(others)).toEqual(["new", "new", "new"]);
    expect(calls).toHaveLength(2);
  });

  it("lets no key wait for another", async () => {
    void ask();
    const other = ask(undefined, "other");
    calls[1]?.end("other");
    expect(await other).toBe("other");
  });

  it("tells an error to the requests of its batch, and to nobody else", async () => {
    const first = ask();
    const others = Promise.allSettled([ask(), ask()]);
    calls[0]?.fail(new Error("broken"));
    await expect(first).rejects.toThrow("broken");
    await called(2);
    const later = ask();
    calls[1]?.fail(new Error("broken again"));
    expect((await others).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    await called(3);
    calls[2]?.end("whole");
    expect(await later).toBe("whole");
  });

  it("asks a store that does not answer only once for all that wait", async () => {
    const asked = Promise.allSettled([ask(), ask(), ask()]);
    const failure = new StowageError("STORE_UNAVAILABLE", "no answer");
    calls[0]?.fail(failure);
    for (const outcome of await asked) expect(outcome).toEqual({ status: "rejected", reason: failure });
    expect(calls).toHaveLength(1);
  });

  it("ends the wait of an aborted request, and not the work of the others", async () => {
    const ended = new AbortController();
    const asked = [ask(ended.signal), ask(ended.signal), ask()];
    const settled = Promise.allSettled(asked);
    ended.abort(new Error("gone"));
    await expect(asked[0]).rejects.toThrow("gone");
    await expect(asked[1]).rejects.toThrow("gone");
    calls[0]?.end("old");
    await called(2);
    calls[1]?.end("new");
    expect((await settled)[2]).toEqual({ status: "fulfilled", value: "new" });
  });

  it("goes on without a request that is gone in the middle of its work", async () => {
    void ask(); // its work never ends
    const others = [ask(), ask()];
    await vi.advanceTimersByTimeAsync(maxMs - 1);
    expect(calls).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(calls).toHaveLength(2);
    calls[1]?.end("new");
    expect(await Promise.all(others)).toEqual(["new", "new"]);
  });

  it("does the work again for the others of a batch whose first request is gone", async () => {
    const first = ask();
    void ask(); // does the work of the next batch, and never ends it
    const other = ask();
    calls[0]?.end("old");
    await first;
    await called(2);
    await vi.advanceTimersByTimeAsync(2 * maxMs);
    expect(calls).toHaveLength(3);
    calls[2]?.end("new");
    expect(await other).toBe("new");
  });

  it("leaves a batch whose first request is gone before it has done anything", async () => {
    void ask(); // its work never ends
    const timers = vi.spyOn(globalThis, "setTimeout").mockImplementationOnce((() => undefined) as never);
    void ask(); // waits without a timer, as a request that was stopped
    timers.mockRestore();
    const other = ask();
    await vi.advanceTimersByTimeAsync(maxMs);
    expect(calls).toHaveLength(2);
    calls[1]?.end("new");
    expect(await other).toBe("new");
  });
});
