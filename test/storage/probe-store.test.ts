import { describe, expect, it } from "vitest";
import { probeStore } from "../../src/layout/probe-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { makeS3Store } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";

type Put = ObjectStore["put"];

describe("probeStore", () => {
  it("marks a store that passes as a layout, and leaves nothing else", async () => {
    const store = new MemoryStore();
    await probeStore(store);
    expect(await keysOf(store)).toEqual(["oci-layout"]);
    expect(await textOf(store, "oci-layout")).toBe('{"imageLayoutVersion":"1.0.0"}');
  });

  it("asks a store that has passed with one request, and writes nothing", async () => {
    const store = new MemoryStore();
    await probeStore(store);
    store.put = () => Promise.reject(new Error("asked to write"));
    await probeStore(store);
  });

  it("passes when several probe at once", async () => {
    const store = new MemoryStore();
    await Promise.all([probeStore(store), probeStore(store), probeStore(store)]);
    expect(await keysOf(store)).toEqual(["oci-layout"]);
  });

  it("makes some 130 requests, and no more at once than a Worker has connections", async () => {
    const store = new MemoryStore();
    let requests = 0;
    let underWay = 0;
    let mostUnderWay = 0;
    const counted = async <T>(request: Promise<T>): Promise<T> => {
      requests += 1;
      underWay += 1;
      mostUnderWay = Math.max(mostUnderWay, underWay);
      await new Promise(setImmediate);
      underWay -= 1;
      return request;
    };
    const [get, put, remove] = [store.get.bind(store), store.put.bind(store), store.delete.bind(store)];
    store.get = (...args) => counted(get(...args));
    store.put = (...args) => counted(put(...args));
    store.delete = (...args) => counted(remove(...args));
    await probeStore(store);
    expect(requests).toBe(127);
    expect(mostUnderWay).toBe(6);
  });

  const unsafe: { ignores: string; put: (put: Put, store: MemoryStore) => Put; says: string }[] = [
    {
      ignores: "every condition",
      put: (put) => async (key, bytes) => put(key, bytes),
      says: "it ignores If-None-Match: it took a write whose condition did not hold",
    },
    {
      ignores: "If-Match",
      put:
        (put) =>
        async (key, bytes, { condition } = {}) =>
          condition === "absent" ? put(key, bytes, { condition }) : put(key, bytes),
      says: "it ignores If-Match: it took a write whose condition did not hold",
    },
    {
      ignores: "If-None-Match in a race, though not otherwise",
      put:
        (put, store) =>
        async (key, bytes, { condition } = {}) => {
          const present = await store.head(key);
          await new Promise(setImmediate);
          if (condition !== "absent") return put(key, bytes, { condition });
          return present === undefined ? put(key, bytes) : "conflict";
        },
      says: "it ignores If-None-Match: in a race 2 of 2 writers won, expected 1",
    },
    {
      ignores: "If-Match in a race, though not otherwise",
      put:
        (put, store) =>
        async (key, bytes, { condition } = {}) => {
          const present = await store.head(key);
          await new Promise(setImmediate);
          if (condition === "absent") return put(key, bytes, { condition });
          return present?.etag === condition?.etag ? put(key, bytes) : "conflict";
        },
      says: "it ignores If-Match: in a race 2 of 2 writers won, expected 1",
    },
    {
      ignores: "If-None-Match on an object of some age",
      put:
        (put) =>
        async (key, bytes, { condition } = {}) => {
          const isReplaced = replaced.has(key);
          if (condition !== "absent") replaced.add(key);
          return isReplaced && condition === "absent" ? put(key, bytes) : put(key, bytes, { condition });
        },
      says: "it ignores If-None-Match: it took a write whose condition did not hold",
    },
    {
      ignores: "whoever writes",
      put: () => () => Promise.resolve("conflict"),
      says: "it ignores If-None-Match: it refused a write whose condition held",
    },
    {
      ignores: "whoever writes beside another",
      put: (put) => {
        let writers = 0;
        return async (...args) => {
          writers += 1;
          const cameAlone = writers === 1;
          await new Promise(setImmediate);
          const stayedAlone = cameAlone && writers === 1;
          const answer = stayedAlone ? await put(...args) : "conflict";
          writers -= 1;
          return answer;
        };
      },
      says: "it ignores If-None-Match: in 5 races none of 2 writers won, expected 1",
    },
  ];
  const replaced = new Set<string>();
  it.for(unsafe)("refuses a store that ignores $ignores, and leaves nothing in it", async ({ put, says }) => {
    const store = new MemoryStore();
    store.put = put(store.put.bind(store), store);
    await expect(probeStore(store)).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: `Cannot use ${store.url}: ${says}. Images loaded at the same time would be lost`,
    });
    expect(await keysOf(store)).toEqual([]);
  });

  it("tries again when a race has no winner", async () => {
    const store = new MemoryStore();
    const put = store.put.bind(store);
    let writes = 0;
    const writesAlone = 4;
    const writesOfFirstRaces = 6;
    store.put = (...args) => {
      writes += 1;
      const isRefused = writes > writesAlone && writes <= writesAlone + writesOfFirstRaces;
      return isRefused ? Promise.resolve("conflict") : put(...args);
    };
    await probeStore(store);
    expect(await keysOf(store)).toEqual(["oci-layout"]);
  });

  it("rejects with the store's own error, and cleans up", async () => {
    const store = new MemoryStore();
    const put = store.put.bind(store);
    const failure = new Error("the network is gone");
    let writes = 0;
    store.put = (...args) => (++writes === 3 ? Promise.reject(failure) : put(...args));
    await expect(probeStore(store)).rejects.toBe(failure);
    expect(await keysOf(store)).toEqual([]);
  });
});

await describeS3Servers("probeStore", (server) => {
  it("passes, with several at once too", async () => {
    const store = await makeS3Store(server);
    await Promise.all([probeStore(store), probeStore(store)]);
    expect(await keysOf(store)).toEqual(["oci-layout"]);
    await probeStore(store);
  });
});

async function keysOf(store: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list("")) keys.push(key);
  return keys;
}

async function textOf(store: ObjectStore, key: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of (await store.get(key))?.body ?? []) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
