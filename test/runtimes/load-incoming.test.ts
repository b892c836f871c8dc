import { beforeEach, describe, expect, it } from "vitest";
import { StowageError } from "../../src/errors.ts";
import { ForwardingStore } from "../../src/storage/forwarding-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { incomingKeyOf, isRetryable, loadIncoming } from "../../src/runtimes/load-incoming.ts";
import { makeS3Store } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

const tarball = await tarOf(makeLayout({ name: "team/app:1.4" }));

let store: ObjectStore;
beforeEach(() => {
  store = new MemoryStore();
});

async function load(key: string, from: ObjectStore = store, etag?: string): ReturnType<typeof loadIncoming> {
  return loadIncoming(openLayout(from), key, { etag });
}

describe("loadIncoming", () => {
  it.each([
    ["incoming/app.tar", "team/app", "1.4"],
    ["incoming/2026/app.tar.gz", "team/app", "1.4"],
    ["incoming/app.tgz", "team/app", "1.4"],
    ["incoming/app.tar.zst", "team/app", "1.4"],
    ["incoming/My App.TAR", "team/app", "1.4"],
    ["incoming/other/name:2", "other/name", "2"],
    ["incoming/localhost:5000/other/name:2", "other/name", "2"],
    ["incoming/other/name", "other/name", "1.4"],
  ])("loads %s and deletes it", async (key, repository, reference) => {
    await store.put(key, tarball);
    expect(await load(key)).toMatchObject({ images: [{ repository, reference, status: "created" }] });
    expect(await store.head(key)).toBeUndefined();
  });

  it("has nothing to do where the object is gone: events come twice", async () => {
    await store.put("incoming/app.tar", tarball);
    await load("incoming/app.tar");
    expect(await load("incoming/app.tar")).toBeUndefined();
  });

  it("leaves an object that has another ETag to its own event", async () => {
    await store.put("incoming/app.tar", tarball);
    const etag = (await store.head("incoming/app.tar"))?.etag;
    await store.put("incoming/app.tar", tarball);
    expect(await load("incoming/app.tar", store, etag)).toBeUndefined();
    expect(await store.head("incoming/app.tar")).toBeDefined();
  });

  it("keeps an object that was replaced while it was read", async () => {
    class ReplacingStore extends ForwardingStore {
      override async put(...args: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
        await store.put("incoming/app.tar", tarball);
        return super.put(...args);
      }
    }
    await store.put("incoming/app.tar", tarball);
    expect(await load("incoming/app.tar", new ReplacingStore(store))).toMatchObject({ images: [{}] });
    expect(await store.head("incoming/app.tar")).toBeDefined();
  });

  it("keeps what cannot be loaded", async () => {
    await store.put("incoming/app.tar", Buffer.from("no archive"));
    const failed: unknown = await load("incoming/app.tar").catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: "ARCHIVE_INVALID" });
    expect(isRetryable(failed)).toBe(false);
    expect(await store.head("incoming/app.tar")).toBeDefined();
  });

  it("refuses a key that is no name", async () => {
    await store.put("incoming/Team App", tarball);
    await expect(load("incoming/Team App")).rejects.toMatchObject({ code: "NAME_INVALID" });
  });
});

await describeS3Servers("loadIncoming", (server) => {
  it("loads an object of the bucket and deletes it", async () => {
    const bucket = await makeS3Store(server);
    await bucket.put("incoming/other/name:2", tarball);
    const etag = (await bucket.head("incoming/other/name:2"))?.etag;
    expect(await load("incoming/other/name:2", bucket, etag)).toMatchObject({
      images: [{ repository: "other/name", reference: "2", status: "created" }],
    });
    expect(await bucket.head("incoming/other/name:2")).toBeUndefined();
  });
});

describe("incomingKeyOf", () => {
  it.each([
    ["incoming/app.tar", "s3://bucket", "incoming/app.tar"],
    ["incoming/app.tar", "s3://bucket/", "incoming/app.tar"],
    ["images/prod/incoming/a/b:1", "s3://bucket/images/prod", "incoming/a/b:1"],
    ["images/prod/incoming/a/b:1", "s3://bucket/images/prod/", "incoming/a/b:1"],
    ["incoming/app.tar", "s3://bucket?endpoint=127.0.0.1:9000", "incoming/app.tar"],
    ["images/prod/incoming/a/b:1", "s3://bucket/images/prod?endpoint=s3.example.com", "incoming/a/b:1"],
    ["incoming/app.tar", "r2:BUCKET", "incoming/app.tar"],
    ["images/incoming/app.tar", "r2:BUCKET/images", "incoming/app.tar"],
    ["incoming/app.tar", "s3://bucket/images", undefined],
    ["imagesincoming/app.tar", "s3://bucket/images", undefined],
    ["images/blobs/incoming/app.tar", "s3://bucket/images", undefined],
    ["incoming/", "s3://bucket", undefined],
    ["incoming/folder/", "s3://bucket", undefined],
    ["staging/incoming/app.tar", "s3://bucket", undefined],
  ])("reads %s in %s as %s", (bucketKey, storeUrl, expected) => {
    expect(incomingKeyOf(bucketKey, storeUrl)).toBe(expected);
  });
});

describe("isRetryable", () => {
  it.each([
    [new StowageError("STORE_UNAVAILABLE", "the store is away"), true],
    [new StowageError("COMMIT_CONFLICT", "others were faster"), true],
    [new Error("nobody foresaw it"), true],
    [new StowageError("DIGEST_INVALID", "wrong bytes"), false],
    [new StowageError("NAME_INVALID", "wrong name"), false],
  ])("%s: %s", (error, expected) => {
    expect(isRetryable(error)).toBe(expected);
  });
});
