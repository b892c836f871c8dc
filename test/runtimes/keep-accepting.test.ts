/** When a listener is started again. That it serves then, on Deno itself, is in `connections.test.ts`. */
import { once } from "node:events";
import { type Server, createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { keepAccepting } from "../../src/runtimes/keep-accepting.ts";
import { notesIn } from "../support/notes.ts";

let server: Server;
let log: string[];
let stop: () => void;
beforeEach(async () => {
  log = [];
  server = createServer((_, response) => response.end()).listen(0, "127.0.0.1");
  await once(server, "listening");
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  stop = keepAccepting(
    server,
    notesIn(() => log),
  );
});
afterEach(() => {
  stop();
  vi.useRealTimers();
  server.close();
});

describe("keepAccepting", () => {
  it("leaves the listener of a process alone that is too busy to take connections for some turns", () => {
    for (let turn = 0; turn < 10; turn++) vi.advanceTimersToNextTimer();
    expect(log).toEqual([]);
  });

  it("leaves a listener alone that takes connections", async () => {
    for (let second = 0; second < 20; second++) {
      vi.advanceTimersByTime(1000);
      await sleep(10);
    }
    expect(log).toEqual([]);
  });

  it("starts a listener again that takes no connections", async () => {
    vi.advanceTimersByTime(4000); // in one turn, in which none can be taken
    expect(log).toContain("the listener takes no connections any more, starting it again");
    await expectListening();
  });

  it("starts a listener again whose last start has failed", async () => {
    server.close();
    await once(server, "close");
    for (let second = 0; second < 3; second++) {
      vi.advanceTimersByTime(1000);
      await sleep(10);
    }
    await expectListening();
  });
});

async function expectListening(): Promise<void> {
  if (!server.listening) await once(server, "listening", { signal: AbortSignal.timeout(2000) });
  expect(server.listening).toBe(true);
}
