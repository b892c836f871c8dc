import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { StowageError } from "../../src/errors.ts";
import { createApp } from "../../src/http/app.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { S3Store } from "../../src/storage/s3/s3-store.ts";
import { makeS3Store, s3Environment } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { notesIn } from "../support/notes.ts";
import { openLayout } from "../support/open-layout.ts";

/** A store that can be made to fail, and counts how often it is asked. */
class WatchedStore extends MemoryStore {
  asked = 0;
  problem: string | undefined;
  answer: Promise<void> = Promise.resolve();

  override async get(...args: Parameters<MemoryStore["get"]>): ReturnType<MemoryStore["get"]> {
    this.asked += 1;
    await this.answer;
    if (this.problem !== undefined) throw new StowageError("STORE_UNAVAILABLE", this.problem);
    return super.get(...args);
  }
}

let store: WatchedStore;
let log: string[];
let app: ReturnType<typeof createApp>;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"] });
  store = new WatchedStore();
  log = [];
  app = createApp({
    layout: openLayout(store),
    access: { tokens: [], anonymousPull: false },
    report: notesIn(() => log),
  });
});
afterEach(() => void vi.useRealTimers());

const ready = async (): Promise<number> => (await app.request("/readyz")).status;

describe("GET /readyz", () => {
  it("answers 200 without a token where the store answers, empty or not", async () => {
    const response = await app.request("/readyz");
    expect([response.status, await response.text(), response.headers.get("Cache-Control")]).toEqual([
      200,
      "ready\n",
      "no-store",
    ]);
    expect((await app.request("/readyz", { method: "HEAD" })).status).toBe(200);
    expect(log).toEqual([]);
  });

  it("asks the store once for all who ask within five seconds, and at once", async () => {
    let goOn: () => void = () => undefined;
    store.answer = new Promise((resolve) => (goOn = resolve));
    const crowd = Array.from({ length: 50 }, ready);
    goOn();
    expect(new Set(await Promise.all(crowd))).toEqual(new Set([200]));
    vi.advanceTimersByTime(4999);
    await ready();
    expect(store.asked).toBe(1);
    vi.advanceTimersByTime(1);
    await Promise.all([ready(), ready()]);
    expect(store.asked).toBe(2);
  });

  it("asks again once somebody has set the clock back", async () => {
    expect(await ready()).toBe(200);
    store.problem = "it is gone";
    vi.setSystemTime(Date.now() - 60 * 60 * 1000);
    expect([await ready(), store.asked]).toEqual([503, 2]);
  });

  it("answers 503 where it does not, and says why only in the log, once", async () => {
    store.problem = "there is no bucket s3://secret-name";
    for (let i = 0; i < 4; i++) {
      const response = await app.request("/readyz");
      expect(response.status).toBe(503);
      expect(await response.text()).not.toContain("secret-name");
      vi.advanceTimersByTime(5000);
    }
    expect(store.asked).toBe(4);
    expect(log).toEqual(["not ready: there is no bucket s3://secret-name"]);
    store.problem = undefined;
    expect(await ready()).toBe(200);
    expect(log.slice(1)).toEqual(["ready again: the store answers"]);
    expect((await app.request("/healthz")).status).toBe(200);
  });
});

await describeS3Servers("GET /readyz", (server) => {
  const appOn = (one: S3Store): ReturnType<typeof createApp> =>
    createApp({ layout: openLayout(one), access: "anyone", report: notesIn(() => log) });

  it("tells an empty prefix from a missing bucket and from wrong keys", async () => {
    app = appOn(await makeS3Store(server));
    expect(await ready()).toBe(200);
    const bucket = "stowage-no-such-bucket";
    app = appOn(new S3Store({ client: createS3Client(s3Environment(server)), bucket }));
    expect(await ready()).toBe(503);
    const env = { ...s3Environment(server), AWS_SECRET_ACCESS_KEY: "wrong" };
    app = appOn(new S3Store({ client: createS3Client(env), bucket }));
    expect(await ready()).toBe(503);
    expect(log).toEqual([
      expect.stringMatching(/^not ready: .*NoSuchBucket.*STOWAGE_STORE or --store names another$/),
      expect.stringMatching(/^not ready: .*SignatureDoesNotMatch.*AWS_SECRET_ACCESS_KEY/),
    ]);
  });
});
