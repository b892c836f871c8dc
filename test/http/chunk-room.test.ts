/** Which answers get large chunks, and when they lose them. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ChunkRoom } from "../../src/http/chunk-room.ts";
import { Line } from "../../src/streams/line.ts";

const mebibyte = 1024 * 1024;
const smallChunk = 64 * 1024;

let rooms: Line;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
  rooms = new Line({ capacity: 1, units: "answers with large chunks", limit: "maxLargeChunks" });
});
afterEach(() => void vi.useRealTimers());

/** The client reads 1 MiB in this time. */
function read(room: ChunkRoom, ms: number): void {
  vi.advanceTimersByTime(ms);
  room.count(mebibyte);
}

describe("ChunkRoom", () => {
  it("gives a fast client large chunks, as long as there is room", () => {
    const [first, second] = [new ChunkRoom(rooms, "a"), new ChunkRoom(rooms, "b")];
    expect(first.chunkBytes()).toBe(smallChunk);
    read(first, 10);
    read(second, 10);
    expect([first.chunkBytes(), second.chunkBytes()]).toEqual([mebibyte, smallChunk]);
    first.leave();
    read(second, 10);
    expect(second.chunkBytes()).toBe(mebibyte);
  });

  it("gives a slow client small chunks", () => {
    const room = new ChunkRoom(rooms, "a");
    read(room, 40);
    expect(room.chunkBytes()).toBe(smallChunk);
  });

  it("keeps the large chunks of a fast client that pauses", () => {
    const room = new ChunkRoom(rooms, "a");
    for (const ms of [10, 10, 60, 10, 10]) {
      read(room, ms);
      expect(room.chunkBytes()).toBe(mebibyte);
    }
  });

  it("takes the large chunks of a client that has become slow", () => {
    const room = new ChunkRoom(rooms, "a");
    for (const ms of [10, 40, 40, 40, 40]) read(room, ms);
    expect(room.chunkBytes()).toBe(smallChunk);
  });
});
