import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { createHash, randomBytes } from "node:crypto";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { once } from "node:events";
import { ListMultipartUploadsCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Digest } from "../../src/digest.ts";
import type { ByteSource, ObjectStore, PutCondition, StoredObject } from "../../src/storage/object-store.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { S3Store } from "../../src/storage/s3/s3-store.ts";
import { collectBytes } from "../../src/streams/collect-bytes.ts";
import { makeS3Store, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { type S3Server, describeS3Servers } from "../servers/s3-servers.ts";
import { describeStoreContract } from "./contract.ts";

const mebibyte = 1024 * 1024;
/** S3's smallest part. */
const partBytes = 5 * mebibyte;
const absent = { condition: "absent" } as const;

await describeS3Servers("S3Store", (server) => {
  const client = createS3Client(s3Environment(server));

  describeStoreContract(
    `S3Store on ${server.name}`,
    async () => {
      const store = await makeS3Store(server, { partBytes });
      const prefix = prefixOf(store);
      return {
        store,
        neighbour: await makeS3Store(server, { partBytes }),
        reopen: () => new S3Store({ client, bucket: testBucket, prefix, partBytes }),
        leftovers: () => openUploads(server, store),
        damage: (key, bytes) => putUnasked(server, store, { key, bytes }),
        close: async () => {},
      };
    },
    { listedObjects: 1_010, writeIsConditional: server.name !== "ceph", copiesFrom: true },
  );

  it("streams a large object in parts, byte for byte", async () => {
    const store = await makeS3Store(server, { partBytes });
    const bytes = randomBytes(3 * partBytes + 17);
    expect(await store.write("object", streamed(bytes), absent)).toEqual({ outcome: "written", parts: 4 });
    expect(digestOf(await read(store, "object"))).toBe(digestOf(bytes));
    expect(await openUploads(server, store)).toEqual([]);
  });

  it("streams exactly two parts as two, and one part as one object", async () => {
    const store = await makeS3Store(server, { partBytes });
    expect(await store.write("two", streamed(randomBytes(2 * partBytes)))).toEqual({ outcome: "written", parts: 2 });
    expect(await store.write("one", streamed(randomBytes(partBytes)))).toEqual({ outcome: "written", parts: 0 });
  });

  it("copies a large object in parts, byte for byte", async () => {
    const store = await makeS3Store(server, { partBytes, copyBytes: partBytes });
    const bytes = randomBytes(2 * partBytes + 17);
    const size = bytes.length;
    expect(await store.write("staging/a b+c", streamed(bytes))).toEqual({ outcome: "written", parts: 3 });
    expect(await store.copy("staging/a b+c", "copy", { size, condition: "absent" })).toEqual({
      outcome: "written",
      parts: 3,
    });
    expect(digestOf(await read(store, "copy"))).toBe(digestOf(bytes));
    await expect(store.copy("staging/nothing", "other", { size })).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(await openUploads(server, store)).toEqual([]);
  });

  const failures = [
    { where: "at its first byte", failAt: 0 },
    { where: "in its middle", failAt: 2.5 * partBytes },
    { where: "before its last bytes", failAt: 4 * partBytes - 1 },
  ];
  it.for(failures)("leaves neither object nor upload when the body throws $where", async ({ failAt }) => {
    const store = await makeS3Store(server, { partBytes });
    const bytes = randomBytes(4 * partBytes);
    const failure = new Error("the body is wrong");
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield* chunksOf(bytes.subarray(0, failAt));
      throw failure;
    }
    const writing = store.write("object", { size: bytes.length, body: failing() }, absent);
    await expect(writing).rejects.toBe(failure);
    expect(await store.head("object")).toBeUndefined();
    expect(await openUploads(server, store)).toEqual([]);
  });

  it("leaves neither object nor upload when the body ends early", async () => {
    const store = await makeS3Store(server, { partBytes });
    const bytes = randomBytes(3 * partBytes);
    for (const length of [2 * partBytes + 1, 1000, 0]) {
      const body = chunksOf(bytes.subarray(0, length));
      const writing = store.write("object", { size: bytes.length, body }, absent);
      await expect(writing).rejects.toMatchObject({ code: "SIZE_INVALID" });
    }
    expect(await store.head("object")).toBeUndefined();
    expect(await openUploads(server, store)).toEqual([]);
  });

  it("leaves neither object nor upload when the signal ends a body that stalls", async () => {
    const store = await makeS3Store(server, { partBytes });
    const bytes = randomBytes(4 * partBytes);
    const controller = new AbortController();
    const reason = new Error("the client went away");
    async function* stalling(): AsyncGenerator<Uint8Array> {
      yield* chunksOf(bytes.subarray(0, 2.5 * partBytes));
      setTimeout(() => controller.abort(reason), 50);
      await new Promise(() => undefined);
    }
    const { signal } = controller;
    const writing = store.write("object", { size: bytes.length, body: stalling() }, { ...absent, signal });
    await expect(writing).rejects.toBe(reason);
    expect(await store.head("object")).toBeUndefined();
    expect(await openUploads(server, store)).toEqual([]);
  });

  it("answers a conflict to all racing writers but one, also to those who send the same bytes", async () => {
    const store = await makeS3Store(server, { partBytes });
    const bytes = randomBytes(1000);
    const writes = Array.from({ length: 8 }, async () =>
      store.put("raced", bytes, { ...absent, digest: digestOf(bytes) }),
    );
    const answers = await Promise.all(writes);
    expect(answers.filter((answer) => answer === "conflict")).toHaveLength(7);
    expect(await store.put("raced", bytes, { ...absent, digest: digestOf(bytes) })).toBe("conflict");
  });

  it("names store, operation, key and reason when the credentials are wrong, but no secret", async () => {
    const wrong = createS3Client({ ...s3Environment(server), AWS_SECRET_ACCESS_KEY: "not-the-secret" });
    const store = new S3Store({ client: wrong, bucket: testBucket, prefix: "tests" });
    const error: unknown = await store.get("index.json").catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringMatching(
        /^GetObject of "index.json" failed at s3:\/\/stowage-test\/tests: 403 SignatureDoesNotMatch/,
      ) as unknown,
    });
    expect(String(error)).not.toContain("not-the-secret");
    expect(String(error)).not.toContain(server.secretAccessKey);
  });

  it("says plainly that a bucket is missing", async () => {
    const store = new S3Store({ client, bucket: "stowage-nowhere", prefix: "" });
    const expected = {
      code: "STORE_UNAVAILABLE",
      message: expect.stringContaining("there is no such bucket") as unknown,
    };
    await expect(store.get("index.json")).rejects.toMatchObject(expected);
    for (const condition of ["absent", undefined] as const) {
      await expect(store.put("index.json", new Uint8Array(1), { condition })).rejects.toMatchObject(expected);
      const source = streamed(randomBytes(9 * mebibyte));
      await expect(store.write("object", source, { condition })).rejects.toMatchObject(expected);
    }
    await expect(store.list("").next()).rejects.toMatchObject(expected);
  });
});

describe("S3Store", () => {
  let server: Server | undefined;
  afterEach(() => {
    vi.unstubAllEnvs();
    server?.closeAllConnections();
    server?.close();
  });

  /** A store whose S3 is `answer`, which the SDK reaches by HTTP like any other. */
  async function storeOf(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<S3Store> {
    server = createServer(answer);
    await once(server.listen(0, "127.0.0.1"), "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    const env = { AWS_ACCESS_KEY_ID: "key", AWS_SECRET_ACCESS_KEY: "secret" };
    const client = createS3Client({ ...env, AWS_ENDPOINT_URL: `http://127.0.0.1:${address.port}` });
    return new S3Store({ client, bucket: "bucket", prefix: "/a/b/", partBytes });
  }

  it("has a URL without superfluous slashes", async () => {
    const store = await storeOf(() => undefined);
    expect(store.url).toBe("s3://bucket/a/b");
    const client = createS3Client({ AWS_REGION: "eu-central-1" });
    expect(new S3Store({ client, bucket: "bucket", prefix: "" }).url).toBe("s3://bucket");
  });

  it("holds a part that is filled and one that is sent, and no more than the blob", async () => {
    const store = await storeOf(() => undefined);
    expect(store.writeBufferBytes(partBytes + 1)).toBe(partBytes + 1);
    expect(store.writeBufferBytes(1024 * partBytes)).toBe(2 * partBytes);
    expect(store.writeBufferBytes(20_000 * partBytes)).toBe(4 * partBytes); // else it were too many parts
  });

  it.each([
    ["its own memory", 0],
    ["three parts more", 3],
  ])("sends as many parts at once as there is memory for: %s", async (_, more) => {
    const parts = 9;
    const s3 = new MultipartS3();
    const waiting: (() => void)[] = [];
    let [received, most, taken] = [0, 0, 0];
    const store = await storeOf((request, response) => {
      if (request.url?.includes("partNumber") !== true) return s3.answer(request, response);
      received++;
      waiting.push(() => s3.answer(request, response));
      most = Math.max(most, waiting.length);
      // No part is answered before as many have come as there is memory for, beside the part that is filled.
      if (waiting.length > more || received === parts) for (const answer of waiting.splice(0)) answer();
      return undefined;
    });
    const takeMore = (bytes: number) => {
      expect(bytes).toBe(partBytes);
      if (taken === more) return undefined;
      taken++;
      return () => void taken--;
    };
    await store.write("blob", streamed(randomBytes(parts * partBytes)), { takeMore });
    expect(most, "the last part is sent too").toBeLessThanOrEqual(more + 2);
    expect(taken, "all memory is given back").toBe(0);
  });

  it("sends a whole blob with its digest as checksum and signed hash", async () => {
    const headers: IncomingMessage["headers"][] = [];
    const store = await storeOf((request, response) => {
      headers.push(request.headers);
      request.resume().on("end", () => response.setHeader("ETag", '"1"').end());
    });
    const bytes = randomBytes(3 * mebibyte);
    await store.put("object", bytes, { ...absent, digest: digestOf(bytes) });
    const hash = createHash("sha256").update(bytes).digest();
    expect(headers).toMatchObject([
      {
        "x-amz-content-sha256": hash.toString("hex"),
        "x-amz-checksum-sha256": hash.toString("base64"),
        "if-none-match": "*",
        "content-length": String(bytes.length),
      },
    ]);
    expect(headers[0]).not.toHaveProperty("expect");
    expect(headers[0]).not.toHaveProperty("content-encoding");

    const sha512: Digest = `sha512:${createHash("sha512").update(bytes).digest("hex")}`;
    await store.put("object", bytes, { ...absent, digest: sha512 });
    expect(headers[1]).toMatchObject({ "x-amz-content-sha256": hash.toString("hex") });
    expect(Object.keys(headers[1] ?? {}).filter((name) => name.includes("checksum"))).toEqual([]);
  });

  const kinds: readonly (readonly [string, (store: ObjectStore, condition?: PutCondition) => Promise<unknown>])[] = [
    ["put", async (store, condition) => store.put("index.json", randomBytes(100), { condition })],
    [
      "write",
      async (store, condition) => (await store.write("index.json", streamed(randomBytes(100)), { condition })).outcome,
    ],
  ];
  const done = { put: { etag: "1" }, write: "written" } as const;

  it.each(kinds)("takes its own %s for what it is when the answer was lost", async (kind, send) => {
    const store = await storeOf(losingFirstAnswers());
    expect(await send(store, "absent")).toEqual(kind === "put" ? done.put : done.write);
    expect(await send(store, "absent")).toBe("conflict");
  });

  it.each(kinds)("does not take another's object for its own when the answer of a %s was lost", async (_, send) => {
    const store = await storeOf(losingFirstAnswers({ isTaken: true }));
    expect(await send(store, "absent")).toBe("conflict");
  });

  it("looks at the object when no answer comes at all", async () => {
    const s3 = { isThere: true, tries: 0 };
    const store = await storeOf((request, response) => {
      if (request.method !== "HEAD") {
        s3.tries += 1;
        response.destroy();
      } else if (s3.isThere) {
        response.writeHead(200, { ETag: '"2"', "Content-Length": 10 }).end();
      } else {
        response.writeHead(404).end();
      }
    });
    const bytes = randomBytes(10);
    expect(await store.put("index.json", bytes, absent), "another object is there").toBe("conflict");
    expect(await store.put("index.json", bytes, { condition: { etag: "1" } })).toBe("conflict");
    expect(await store.write("index.json", streamed(bytes), absent)).toEqual({ outcome: "conflict", parts: 0 });
    expect(s3.tries).toBe(3 * 4);
    const failure = {
      code: "STORE_UNAVAILABLE",
      message: expect.stringMatching(/^(?:PutObject|Upload) of/) as unknown,
    };
    const unanswered = { unanswered: failure };
    const asBefore = { condition: { etag: "2" } };
    expect(await store.put("index.json", bytes, asBefore), "nothing has changed").toMatchObject(unanswered);
    await expect(store.write("index.json", streamed(bytes), asBefore)).rejects.toMatchObject(failure);
    await expect(store.put("index.json", bytes)).rejects.toMatchObject(failure);
    s3.isThere = false;
    expect(await store.put("index.json", bytes, absent)).toMatchObject(unanswered);
    await expect(store.write("index.json", streamed(bytes), absent)).rejects.toMatchObject(failure);
  });

  it("leaves open what became of a write if it may not even look", async () => {
    const store = await storeOf((request, response) => {
      if (request.method === "HEAD") response.writeHead(403).end();
      else response.destroy();
    });
    const answer = await store.put("index.json", randomBytes(10), absent);
    expect(answer).toMatchObject({ unanswered: { message: expect.stringMatching(/^PutObject of/) as unknown } });
  });

  it("does not call it a conflict when no answer came to what is sent once, and others may have written since", async () => {
    let tries = 0;
    const store = await storeOf((request, response) => {
      if (request.method === "HEAD") {
        response.writeHead(200, { ETag: '"2"', "Content-Length": 10 }).end();
        return;
      }
      tries += 1;
      response.destroy();
    });
    const sent = await store.put("index.json", randomBytes(10), { condition: { etag: "1" }, once: true });
    expect(sent).toMatchObject({ unanswered: { code: "STORE_UNAVAILABLE" } });
    expect(await store.delete("index.json", { once: true })).toMatchObject({
      unanswered: { code: "STORE_UNAVAILABLE" },
    });
    expect(tries).toBe(2);
    await expect(store.delete("index.json")).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });

  it("throws when the store refuses what is sent once: nothing was done", async () => {
    const store = await storeOf((_, response) => response.writeHead(403).end(s3Error("AccessDenied", "No")));
    const refused = { code: "STORE_UNAVAILABLE", message: expect.stringContaining("403 AccessDenied") as unknown };
    const isOnce = { once: true };
    await expect(store.put("index.json", randomBytes(10), { ...absent, ...isOnce })).rejects.toMatchObject(refused);
    await expect(store.delete("index.json", isOnce)).rejects.toMatchObject(refused);
  });

  it("throws when there are no credentials: nothing was sent", async () => {
    const nowhere = { HOME: "/nonexistent", AWS_EC2_METADATA_DISABLED: "true" };
    for (const [name, value] of Object.entries(nowhere)) vi.stubEnv(name, value);
    const client = createS3Client({ AWS_ENDPOINT_URL: "http://127.0.0.1:1" });
    const store = new S3Store({ client, bucket: "bucket", partBytes });
    const failure = {
      code: "STORE_UNAVAILABLE",
      message: expect.stringContaining("; set AWS_ACCESS_KEY_ID") as unknown,
    };
    const bytes = randomBytes(10);
    await expect(store.put("index.json", bytes, absent)).rejects.toMatchObject(failure);
    await expect(store.put("index.json", bytes, { ...absent, once: true })).rejects.toMatchObject(failure);
    await expect(store.delete("index.json", { once: true })).rejects.toMatchObject(failure);
    await expect(store.write("index.json", streamed(bytes), absent)).rejects.toMatchObject(failure);
  });

  it("throws when a body breaks off", async () => {
    const store = await storeOf((_, response) => {
      response.writeHead(200, { "Content-Length": 1_000_000, ETag: '"1"' }).write(new Uint8Array(100_000));
      setTimeout(() => response.destroy(), 50);
    });
    const object = await store.get("broken");
    await expect(drain(object)).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: 'GetObject of "broken" failed at s3://bucket/a/b: ECONNRESET: aborted',
    });
  });

  it("closes the connection of a body that is left, even before its first byte", async () => {
    let closed: Promise<unknown> | undefined;
    const store = await storeOf((_, response) => {
      closed = once(response, "close");
      response.writeHead(200, { "Content-Length": 1_000_000, ETag: '"1"' }).write(new Uint8Array(100_000));
    });
    const left = await store.get("left");
    for await (const _ of left?.body ?? []) break;
    await closed;
    const unread = await store.get("unread");
    await unread?.body[Symbol.asyncIterator]().return?.();
    await closed;
  });

  it("reads no range from a store that ignores ranges", async () => {
    const store = await storeOf((_, response) => response.writeHead(200, { ETag: '"1"' }).end("whole"));
    await expect(store.get("key", { range: { start: 1, end: 2 } })).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
    });
  });

  it("aborts its upload when a part is refused, and says why", async () => {
    const s3 = new MultipartS3();
    const store = await storeOf(s3.answer);
    s3.refusePart = 2;
    await expect(store.write("object", streamed(randomBytes(3 * partBytes)), absent)).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringMatching(/^Upload of "object" failed at s3:.*: 403 QuotaExceeded: Full$/) as unknown,
    });
    expect(s3.log.slice(0, 1)).toEqual(["create"]);
    expect(s3.log.at(-1)).toBe("abort");
    expect(s3.log).not.toContain("complete");
  });

  it("completes on the condition that no object is there, and takes a lost answer for what it is", async () => {
    const s3 = new MultipartS3();
    const store = await storeOf(s3.answer);
    s3.loseCompletion = true;
    const bytes = randomBytes(2 * partBytes + 1);
    expect(await store.write("object", streamed(bytes), absent)).toEqual({ outcome: "written", parts: 3 });
    expect(s3.conditions).toEqual(["*", "*"]); // its first try, and the SDK's second
  });

  it("does not wait for the completion of an upload once the signal has fired, and aborts the upload", async () => {
    const s3 = new MultipartS3();
    const store = await storeOf(s3.answer);
    const reason = new Error("enough");
    const controller = new AbortController();
    s3.onCompletion = () => controller.abort(reason); // and no answer, ever
    const writing = store.write("object", streamed(randomBytes(2 * partBytes)), {
      ...absent,
      signal: controller.signal,
    });
    await expect(writing).rejects.toBe(reason);
    expect(s3.log.slice(-2)).toEqual(["complete", "abort"]);
  });

  it("ends every call with the signal's reason", async () => {
    const store = await storeOf((request, response) => {
      if (request.method !== "GET" || request.url?.includes("list-type")) return; // no answer, ever
      response.writeHead(200, { "Content-Length": 10, ETag: '"1"' }).write(new Uint8Array(5));
    });
    const reason = new Error("enough");
    const signal = (): AbortSignal => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(reason), 30);
      return controller.signal;
    };
    const calls = [
      store.head("key", { signal: signal() }),
      store.put("key", randomBytes(10), { ...absent, signal: signal() }),
      store.put("key", randomBytes(10), { ...absent, once: true, signal: signal() }),
      store.write("key", streamed(randomBytes(10)), { signal: signal() }),
      store.copy("key", "other", { size: 10, signal: signal() }),
      store.delete("key", { signal: signal() }),
      store.list("key", { signal: signal() }).next(),
      store.get("key", { signal: signal() }).then(drain),
      store.head("key", { signal: AbortSignal.abort(reason) }),
    ];
    for (const result of await Promise.allSettled(calls)) expect(result).toEqual({ status: "rejected", reason });
  });

  it("keeps no body after it is stored", async () => {
    const store = await storeOf((request, response) => {
      request.resume().on("end", () => response.setHeader("ETag", '"1"').end());
    });
    const { signal } = new AbortController();
    const putOnce = async (): Promise<WeakRef<Uint8Array>> => {
      const bytes = randomBytes(mebibyte);
      await store.put("key", bytes, { signal });
      return new WeakRef(bytes);
    };
    const body = await putOnce();
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    await vi.waitUntil(() => {
      collect();
      return body.deref() === undefined;
    }, 10_000);
    expect(signal.aborted, "the load goes on").toBe(false);
  });

  it("explains a 403 to HEAD", async () => {
    const store = await storeOf((_, response) => response.writeHead(403).end());
    await expect(store.head("index.json")).rejects.toThrow(/HeadObject of "index.json" failed.*403.*s3:ListBucket/);
  });

  it("says which server it cannot reach", async () => {
    const store = await storeOf(() => undefined);
    server?.close();
    await expect(store.head("index.json")).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringMatching(/ECONNREFUSED.*127\.0\.0\.1/) as unknown,
    });
  });
});

/**
 * An S3 that honours If-None-Match, and breaks the connection instead of answering the first PUT of each key. With
 * `isTaken`, somebody else has always been faster.
 */
function losingFirstAnswers({ isTaken = false } = {}) {
  const objects = new Map<string, Record<string, string | number>>();
  const lost = new Set<string>();
  return (request: IncomingMessage, response: ServerResponse): void => {
    const path = new URL(request.url ?? "/", "http://s3").pathname;
    const object = objects.get(path);
    let size = 0;
    request.on("data", (chunk: Buffer) => (size += chunk.length));
    request.on("end", () => {
      if (request.method === "HEAD") {
        response.writeHead(object ? 200 : 404, object).end();
        return;
      }
      const id = isTaken ? "another's" : (request.headers["x-amz-meta-stowage-write"] ?? "");
      if (!object) objects.set(path, { ETag: '"1"', "Content-Length": size, "x-amz-meta-stowage-write": String(id) });
      if (!lost.has(path)) {
        lost.add(path);
        response.destroy();
      } else {
        response.writeHead(object ? 412 : 200, { ETag: '"1"' }).end();
      }
    });
  };
}

/** An S3 that knows multipart uploads alone, of one object. */
class MultipartS3 {
  readonly log: string[] = [];
  /** The `If-None-Match` of each completion. */
  readonly conditions: (string | undefined)[] = [];
  refusePart = 0;
  loseCompletion = false;
  /** Called instead of an answer to the completion. */
  onCompletion: (() => void) | undefined;
  #size = 0;
  #writeId = "";
  #isComplete = false;

  readonly answer = (request: IncomingMessage, response: ServerResponse): void => {
    const part = new URL(request.url ?? "/", "http://s3").searchParams.get("partNumber");
    const isCreation = request.url?.includes("uploads") ?? false;
    request.on("data", (chunk: Buffer) => (this.#size += part === null ? 0 : chunk.length));
    request.on("end", () => {
      if (request.method === "HEAD") {
        const headers = { ETag: '"1"', "Content-Length": this.#size, "x-amz-meta-stowage-write": this.#writeId };
        response.writeHead(this.#isComplete ? 200 : 404, headers).end();
      } else if (request.method === "DELETE") {
        this.log.push("abort");
        response.writeHead(204).end();
      } else if (part !== null) {
        this.log.push(`part ${part}`);
        if (Number(part) === this.refusePart) response.writeHead(403).end(s3Error("QuotaExceeded", "Full"));
        else response.writeHead(200, { ETag: `"${part}"` }).end();
      } else if (isCreation) {
        this.log.push("create");
        this.#writeId = String(request.headers["x-amz-meta-stowage-write"]);
        response.end("<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>");
      } else {
        this.#complete(request, response);
      }
    });
  };

  #complete(request: IncomingMessage, response: ServerResponse): void {
    this.log.push("complete");
    this.conditions.push(request.headers["if-none-match"]);
    if (this.onCompletion !== undefined) {
      this.onCompletion();
      return;
    }
    if (this.#isComplete) response.writeHead(404).end(s3Error("NoSuchUpload", "It is gone"));
    else if (this.loseCompletion) response.destroy();
    else response.end("<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>");
    this.#isComplete = true;
  }
}

function s3Error(code: string, message: string): string {
  return `<Error><Code>${code}</Code><Message>${message}</Message></Error>`;
}

function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

function streamed(bytes: Uint8Array): ByteSource {
  return { size: bytes.length, body: chunksOf(bytes) };
}

async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  const chunkBytes = 300_000;
  for (let start = 0; start < bytes.length; start += chunkBytes) {
    yield bytes.subarray(start, start + chunkBytes);
    await new Promise(setImmediate); // as if it came from outside
  }
}

async function read(store: S3Store, key: string): Promise<Buffer> {
  const object = await store.get(key);
  return Buffer.from(object ? await collectBytes(object.body, object.size) : []);
}

async function drain(object: StoredObject | undefined): Promise<void> {
  for await (const _ of object?.body ?? []);
}

/** Writes an object behind the store's back. */
async function putUnasked(
  server: S3Server,
  store: S3Store,
  { key, bytes }: { readonly key: string; readonly bytes: Uint8Array },
): Promise<void> {
  const client = createS3Client(s3Environment(server));
  await client.send(new PutObjectCommand({ Bucket: testBucket, Key: `${prefixOf(store)}/${key}`, Body: bytes }));
}

/** Keys of the multipart uploads that are open below the store's prefix. */
async function openUploads(server: S3Server, store: S3Store): Promise<string[]> {
  const client = createS3Client(s3Environment(server));
  const input = { Bucket: testBucket, Prefix: prefixOf(store) };
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand(input));
  return Uploads.map(({ Key }) => `multipart upload of ${Key}`);
}

function prefixOf(store: S3Store): string {
  return store.url.slice(`s3://${testBucket}/`.length);
}
