import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import {
  AbortMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  ListMultipartUploadsCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { afterEach, describe, expect, it } from "vitest";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { S3Store } from "../../src/storage/s3/s3-store.ts";
import { type S3Tuning, makeS3Store, makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { type S3Server, describeS3Servers, findS3Server, s3ServerNames } from "../servers/s3-servers.ts";
import { describeIfFound } from "../support/requirement.ts";
import { expectSame, listAll, read, source } from "./contract-objects.ts";
import { creating } from "./copy-contract.ts";

/** S3's smallest part. */
const partBytes = 5 * 1024 * 1024;
const layer = "a layer+1";

await describeS3Servers(
  "S3Store.copyFrom",
  (server) => {
    it("copies from another bucket", async () => {
      const client = createS3Client(s3Environment(server));
      const bucket = `stowage-copy-${crypto.randomUUID()}`;
      await client.send(new CreateBucketCommand({ Bucket: bucket }));
      const [from, to] = [new S3Store({ client, bucket }), await makeS3Store(server)];
      try {
        const bytes = randomBytes(1_000);
        await from.put(layer, bytes);
        expect(await to.copyFrom(from, layer, "copy", creating(bytes))).toEqual({ outcome: "written", parts: 0 });
        expectSame(await read(await to.get("copy")), bytes);
      } finally {
        await Promise.all([from.delete(layer), to.delete("copy")]);
        await client.send(new DeleteBucketCommand({ Bucket: bucket }));
      }
    });

    it("copies a large object in parts, byte for byte", async () => {
      const [from, to] = [await makeS3Store(server), await makeRecordingStore(server, { copyBytes: partBytes })];
      const bytes = randomBytes(2 * partBytes + 17);
      await from.write(layer, source(bytes));
      expect(await to.store.copyFrom(from, layer, "copy", creating(bytes))).toEqual({ outcome: "written", parts: 3 });
      expect(to.requests.filter((name) => name === "UploadPartCopyCommand")).toHaveLength(3);
      expectSame(await read(await to.store.get("copy")), bytes);
      expect(await openUploads(server, to.store)).toEqual([]);
      await Promise.all([from.delete(layer), to.store.delete("copy")]);
    });

    it("goes on where a copy in parts was killed", async () => {
      const tuning = { copyBytes: partBytes };
      const from = await makeS3Store(server);
      const [killed, next] = [await makeRecordingStore(server, tuning), await makeRecordingStore(server, tuning)];
      const [killedStore, store] = [killed.store, next.at(killed.prefix)];
      const bytes = randomBytes(5 * partBytes + 17);
      await from.write(layer, source(bytes));

      // After two parts no request of the first copy gets through, as if its process were killed.
      const cut = killed.stopAfter("UploadPartCopyCommand", 2);
      void killedStore.copyFrom(from, layer, "copy", creating(bytes));
      await cut;
      expect(await openUploads(server, store)).toHaveLength(1);

      expect(await store.copyFrom(from, layer, "copy", creating(bytes))).toEqual({
        outcome: "written",
        parts: 6,
        isResumed: true,
      });
      expect(next.requests.filter((name) => name === "UploadPartCopyCommand")).toHaveLength(4);
      expect(next.requests).not.toContain("CreateMultipartUploadCommand");
      expectSame(await read(await store.get("copy")), bytes);
      expect(await openUploads(server, store)).toEqual([]);
      await Promise.all([from.delete(layer), store.delete("copy")]);
    });

    it("begins anew if the parts of an open upload are none of a copy's", async () => {
      const from = await makeS3Store(server);
      const { store, requests } = await makeRecordingStore(server, { copyBytes: partBytes });
      const bytes = randomBytes(2 * partBytes + 17);
      await from.write(layer, source(bytes));
      const endUpload = await leaveUploadOpen(server, store, "copy");
      expect(await store.copyFrom(from, layer, "copy", creating(bytes))).toEqual({ outcome: "written", parts: 3 });
      expect(requests).toContain("CreateMultipartUploadCommand");
      expectSame(await read(await store.get("copy")), bytes);
      expect(await openUploads(server, store), "the other upload goes on").toHaveLength(1);
      await endUpload();
      await Promise.all([from.delete(layer), store.delete("copy")]);
    });

    it("finds a copy with a wrong hash, if the server hashes what it copies", async () => {
      const [from, to] = [await makeS3Store(server), await makeS3Store(server)];
      const bytes = randomBytes(1_000);
      await from.put(layer, bytes);
      const copy = to.copyFrom(from, layer, "copy", { ...creating(bytes), digest: `sha256:${"0".repeat(64)}` });
      if (hashingServers.has(server.name)) {
        await expect(copy).rejects.toMatchObject({
          code: "STORE_DAMAGED",
          message: `Cannot use "copy" in ${to.url}: found ${hashOf(bytes)} as its SHA-256, expected ${"0".repeat(64)}`,
        });
        expect(await listAll(to, "")).toEqual([]);
      } else {
        expect(await copy).toMatchObject({ outcome: "written" });
      }
      await Promise.all([from.delete(layer), to.delete("copy")]);
    });
  },
  [...s3ServerNames, "moto"],
);

/** Servers that answer with the SHA-256 of a copy. */
const hashingServers: ReadonlySet<string> = new Set(["versitygw", "moto"]);

const [gateway, weed] = [await findS3Server("versitygw"), await findS3Server("seaweedfs")];
const missing = [gateway, weed].filter((server) => typeof server === "string");
describeIfFound("S3Store.copyFrom between two servers", missing, () => {
  if (typeof gateway === "string" || typeof weed === "string") return;

  it("is refused without a request, also if both have a bucket of this name", async () => {
    const [from, { store, requests }] = [await makeS3Store(weed), await makeRecordingStore(gateway)];
    const bytes = randomBytes(1_000);
    await from.put(layer, bytes);
    expect(await store.copyFrom(from, layer, "copy", creating(bytes))).toBe("refused");
    expect(requests).toEqual([]);
    await from.delete(layer);
  });
});

describe("S3Store.copyFrom", () => {
  let server: Server | undefined;
  afterEach(() => {
    server?.closeAllConnections();
    server?.close();
  });

  /** Two buckets of one fake S3. `answers` has its answers to copies, in turn. */
  async function storesOf(answers: readonly Answer[], copyBytes?: number) {
    const s3 = new CopyingS3(answers);
    server = createServer(s3.answer);
    await once(server.listen(0, "127.0.0.1"), "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    const env = { AWS_ACCESS_KEY_ID: "key", AWS_SECRET_ACCESS_KEY: "secret" };
    const client = createS3Client({ ...env, AWS_ENDPOINT_URL: `http://127.0.0.1:${address.port}` });
    const tuning = copyBytes === undefined ? {} : { copyBytes };
    const from = new S3Store({ client, bucket: "source", prefix: "a" });
    return { s3, from, to: new S3Store({ client, bucket: "target", prefix: "b", ...tuning }) };
  }

  const options = creating(Buffer.from("twelve bytes"));

  it.each([
    ["AccessDenied", 403],
    ["MethodNotAllowed", 405],
    ["NotImplemented", 501],
    ["PermanentRedirect", 301],
    ["AuthorizationHeaderMalformed", 400],
    ["InvalidRequest", 400],
    ["NoSuchBucket", 404],
  ] as const)("is refused by %s, and asks only once", async (code, status) => {
    const refusal: Answer = { status, code };
    const { s3, from, to } = await storesOf([refusal, refusal, refusal]);
    expect(await to.copyFrom(from, "one", "one", options)).toBe("refused");
    const { length } = s3.log;
    expect(await to.copyFrom(from, "two", "two", options)).toBe("refused");
    expect(s3.log.slice(length)).toEqual([]);
  });

  it("asks again after a refusal of one object", async () => {
    const { s3, from, to } = await storesOf([{ status: 404, code: "NoSuchKey" }, { status: 412, code: "Changed" }, {}]);
    expect(await to.copyFrom(from, "one", "one", options)).toBe("refused");
    expect(await to.copyFrom(from, "two", "two", options)).toBe("refused");
    expect(await to.copyFrom(from, "three", "three", options)).toMatchObject({ outcome: "written" });
    expect(s3.log.at(-2)).toBe("PUT /target/b/three from source/a/three if 1, SHA256");
  });

  it("asks for nothing that its caller has seen", async () => {
    const { s3, from, to } = await storesOf([{}]);
    const seen = { ...options, sourceEtag: "7", isSeenAbsent: true };
    expect(await to.copyFrom(from, "one", "one", seen)).toMatchObject({ outcome: "written" });
    // The answer has no hash, so the size of the copy is checked.
    expect(s3.log).toEqual(["PUT /target/b/one from source/a/one if 7, SHA256", "HEAD /target/b/one"]);
  });

  it("finds the object of a faster writer that its caller has not seen, if the store heeds the condition", async () => {
    const { s3, from, to } = await storesOf([{ status: 412, code: "PreconditionFailed" }]);
    s3.sizes.set("/target/b/one", 12);
    const copied = await to.copyFrom(from, "one", "one", { ...options, isSeenAbsent: true });
    expect(copied).toEqual({ outcome: "conflict", parts: 0 });
  });

  it("is no refusal if the store fails", async () => {
    const failures = Array.from({ length: 4 }, () => ({ status: 500, code: "InternalError" }));
    const { from, to } = await storesOf(failures);
    await expect(to.copyFrom(from, "one", "one", options)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });

  it.each([
    ["NotImplemented", 501],
    ["InvalidArgument", 400],
  ] as const)("asks for no hash where that is %s", async (code, status) => {
    const { s3, from, to } = await storesOf([{ status, code }, {}, {}]);
    expect(await to.copyFrom(from, "one", "one", options)).toMatchObject({ outcome: "written" });
    expect(await to.copyFrom(from, "two", "two", options)).toMatchObject({ outcome: "written" });
    expect(s3.log.filter((line) => line.startsWith("PUT"))).toEqual([
      "PUT /target/b/one from source/a/one if 1, SHA256",
      "PUT /target/b/one from source/a/one if 1",
      "PUT /target/b/two from source/a/two if 1",
    ]);
  });

  it.each([
    ["another hash", { sha256: "AAAA" }],
    ["another size", { size: 11 }],
  ])("deletes a copy that has %s", async (_, answer) => {
    const { s3, from, to } = await storesOf([answer]);
    await expect(to.copyFrom(from, "one", "one", options)).rejects.toMatchObject({ code: "STORE_DAMAGED" });
    expect(s3.log.at(-1)).toBe("DELETE /target/b/one");
  });

  it("takes the hash of the parts for no hash of the object", async () => {
    const { from, to } = await storesOf([{ sha256: "AAAA-2" }]);
    expect(await to.copyFrom(from, "one", "one", options)).toMatchObject({ outcome: "written" });
  });

  it("aborts an upload whose parts are refused", async () => {
    const { s3, from, to } = await storesOf(
      Array.from({ length: 3 }, () => ({ status: 501, code: "NotImplemented" })),
      5,
    );
    expect(await to.copyFrom(from, "one", "one", options)).toBe("refused");
    expect(s3.log).toContain("POST /target/b/one?uploads");
    expect(s3.log.slice(-2)).toEqual(["DELETE /target/b/one?uploadId", "HEAD /target/b/one"]);
  });

  it("looks at the object if its upload is gone", async () => {
    const { s3, from, to } = await storesOf([{}, {}, {}], 5);
    s3.isUploadGone = true;
    s3.sizes.set("/target/b/one", 12);
    expect(await to.copyFrom(from, "one", "one", { ...options, condition: undefined }).catch(String)).toMatch(/gone/);
    s3.sizes.delete("/target/b/one");
    expect(await to.copyFrom(from, "one", "one", options)).toMatchObject({ outcome: "written" });
  });
});

interface Answer {
  readonly status?: number;
  readonly code?: string;
  readonly sha256?: string;
  /** Bytes of the copy. */
  readonly size?: number;
}

/** An S3 in whose bucket `source` is each object, of 12 bytes. It lists no uploads. */
class CopyingS3 {
  readonly log: string[] = [];
  readonly sizes = new Map<string, number>();
  isUploadGone = false;
  readonly #answers: Answer[];

  constructor(answers: readonly Answer[]) {
    this.#answers = [...answers];
  }

  readonly answer = (request: IncomingMessage, response: ServerResponse): void => {
    request.resume().on("end", () => this.#answer(request, response));
  };

  #answer({ method = "", url = "", headers }: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(url, "http://s3");
    searchParams.delete("x-id");
    const [query] = searchParams.keys();
    const copied = headers["x-amz-copy-source"];
    const hash = headers["x-amz-checksum-algorithm"] === "SHA256" ? ", SHA256" : "";
    const condition = String(headers["x-amz-copy-source-if-match"]);
    const from = copied === undefined ? "" : ` from ${String(copied)} if ${condition}${hash}`;
    this.log.push(`${method} ${pathname}${query === undefined ? "" : `?${query}`}${from}`);
    const xml = (root: string, body: string) => response.end(`<${root}>${body}</${root}>`);
    if (copied !== undefined) {
      const { status = 200, code, sha256, size = 12 } = this.#answers.shift() ?? {};
      if (status !== 200) return void response.writeHead(status).end(`<Error><Code>${code}</Code></Error>`);
      if (query === undefined) this.sizes.set(pathname, size);
      const checksum = sha256 === undefined ? "" : `<ChecksumSHA256>${sha256}</ChecksumSHA256>`;
      return void xml(query === undefined ? "CopyObjectResult" : "CopyPartResult", `<ETag>1</ETag>${checksum}`);
    }
    if (method === "HEAD") {
      const size = pathname.startsWith("/source/") ? 12 : this.sizes.get(pathname);
      return void response
        .writeHead(size === undefined ? 404 : 200, { ETag: '"1"', "Content-Length": size ?? 0 })
        .end();
    }
    if (method === "DELETE") return void response.writeHead(204).end();
    if (method === "GET") return void response.writeHead(501).end("<Error><Code>NotImplemented</Code></Error>");
    if (query === "uploads") return void xml("InitiateMultipartUploadResult", "<UploadId>1</UploadId>");
    if (!this.isUploadGone) return void xml("CompleteMultipartUploadResult", "<ETag>2</ETag>");
    this.sizes.set(pathname, 12); // another copy was faster
    response.writeHead(404).end("<Error><Code>NoSuchUpload</Code></Error>");
  }
}

/** A store that records its requests. They can be made to hang. */
async function makeRecordingStore(server: S3Server, tuning: S3Tuning = {}) {
  const client = createS3Client(s3Environment(server));
  await makeTestBucket(createS3Client(s3Environment(server)));
  const requests: string[] = [];
  let stop: Stop | undefined;
  client.middlewareStack.add(
    (next, { commandName = "" }) =>
      async (args) => {
        requests.push(commandName);
        if (stop === undefined || (stop.name !== commandName && stop.unanswered > 0)) return next(args);
        if (stop.unsent === 0) return new Promise(() => undefined);
        stop.unsent -= 1;
        const answer = await next(args);
        stop.unanswered -= 1;
        if (stop.unanswered === 0) stop.stopped();
        return answer;
      },
    { step: "deserialize" }, // after the place where a presigned URL is made
  );
  const prefix = `tests/${crypto.randomUUID()}`;
  const at = (where: string): S3Store => {
    return new S3Store({ client, bucket: testBucket, prefix: where, partBytes, ...tuning });
  };
  return {
    prefix,
    requests,
    store: at(prefix),
    at,
    /** Lets this number of requests of one kind through, then no more. Resolves when they are answered. */
    stopAfter: async (name: string, count: number): Promise<void> =>
      new Promise((stopped) => {
        stop = { name, unsent: count, unanswered: count, stopped };
      }),
  };
}

interface Stop {
  readonly name: string;
  unsent: number;
  unanswered: number;
  readonly stopped: () => void;
}

/** Leaves an upload of this key open, as one that is under way. */
async function leaveUploadOpen(server: S3Server, store: S3Store, key: string): Promise<() => Promise<unknown>> {
  const client = createS3Client(s3Environment(server));
  const at = { Bucket: testBucket, Key: `${prefixOf(store)}/${key}` };
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(at));
  const upload = { ...at, UploadId };
  await client.send(new UploadPartCommand({ ...upload, PartNumber: 1, Body: randomBytes(partBytes + 1) }));
  return async () => client.send(new AbortMultipartUploadCommand(upload));
}

/** Keys of the uploads that are open below the store's prefix. */
async function openUploads(server: S3Server, store: S3Store): Promise<string[]> {
  const client = createS3Client(s3Environment(server));
  const input = { Bucket: testBucket, Prefix: prefixOf(store) };
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand(input));
  return Uploads.map(({ Key = "" }) => Key);
}

function prefixOf(store: S3Store): string {
  return store.copySource.prefix.slice(0, -1);
}

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
