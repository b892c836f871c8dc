/** A server that takes connections and never answers, as one behind a broken balancer does. */
import { once } from "node:events";
import { type AddressInfo, type Server, type Socket, createServer } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { answered } from "../../src/storage/object-store.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { S3Store } from "../../src/storage/s3/s3-store.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { listAll } from "./contract-objects.ts";
import { openLayout } from "../support/open-layout.ts";

const conditional = { condition: "absent", once: true } as const;
const answerMs = 100;
/** The SDK's four tries, and what it waits between them. */
const longestMs = 4 * answerMs + 3000;

let server: Server;
let store: S3Store;
let connections = 0;
const sockets = new Set<Socket>();
beforeAll(async () => {
  server = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.resume();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const env = {
    AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    AWS_ACCESS_KEY_ID: "key",
    AWS_SECRET_ACCESS_KEY: "secret",
  };
  store = new S3Store({ client: createS3Client(env, { answerMs }), bucket: "bucket" });
});
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  server.close();
});

describe("S3Store, of a server that never answers", { timeout: 4 * longestMs }, () => {
  it.each([
    ["head", async () => store.head("index.json")],
    ["get", async () => store.get("index.json")],
    ["list", async () => listAll(store, "")],
    ["delete", async () => store.delete("index.json")],
    ["put", async () => store.put("staging/1", new Uint8Array(1))],
    ["a conditional put", async () => answered(await store.put("index.json", new Uint8Array(1), conditional))],
  ] satisfies [string, () => Promise<unknown>][])("ends %s with an error that says so", async (_, ask) => {
    await expect(ask()).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringContaining("it did not answer in time") as unknown,
    });
  });
});

describe("the service, of a store that never answers", { timeout: 4 * longestMs }, () => {
  it("says so to all who pull, after the tries of one of them", async () => {
    const app = createApp({ layout: openLayout(store), access: "anyone" });
    connections = 0;
    const pulls = Array.from({ length: 5 }, async () => app.request("/v2/team/app/manifests/1"));
    const answers = await Promise.all(pulls);
    expect(answers.map(({ status }) => status)).toEqual([503, 503, 503, 503, 503]);
    expect(connections).toBe(4);
  });

  it("says so to whoever loads", async () => {
    const app = createApp({ layout: openLayout(store), access: "anyone" });
    const answer = await app.request("/v1/load/team/app", { method: "PUT", body: await tarOf(makeLayout()) });
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ errors: [{ code: "STORE_UNAVAILABLE" }] });
  });
});
