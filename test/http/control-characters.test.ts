/** Bytes of a client in messages: none begins a line in a log, moves a terminal's cursor or turns text around. */
import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { ForwardingStore } from "../../src/storage/forwarding-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { notesIn } from "../support/notes.ts";
import { longNameEntry, paxEntry, rawTar } from "../support/raw-tar.ts";
import { openLayout } from "../support/open-layout.ts";

/** A terminal's escape, a line that looks like one of the log, a C1 control, a line separator, and text turned around. */
const evil = "\u001b[2J\n2026-01-01 ci loaded\r\u009b31m\u2028\u202e\u0007\u007f";
const encoded = encodeURIComponent(evil);
/** As much of it as a header may hold. */
const header = "\u001b[2J\u009b31m\u007f";
const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

function put(body: string | Buffer, headers: Record<string, string> = {}): RequestInit {
  return { method: "PUT", body, headers };
}

function post(body: string | Buffer): RequestInit {
  return { method: "POST", body };
}

function named(annotations: Record<string, string>): Promise<Buffer> {
  return tarOf(makeLayout({ root: { annotations } }));
}

function dockerTar(image: object): Buffer {
  return rawTar([{ name: "manifest.json", bytes: Buffer.from(JSON.stringify([image])) }]);
}

function indexTar(text: string): Buffer {
  return rawTar([{ name: "index.json", bytes: Buffer.from(text) }]);
}

let app: Hono;
let log: string[];
beforeEach(async () => {
  log = [];
  app = createApp({ layout: openLayout(new MemoryStore()), access: "anyone", report: notesIn(() => log) });
  await app.request("/v1/load", put(await tarOf(makeLayout({ name: "team/app:1" }))));
  log = [];
});

describe("a message", () => {
  it.each<[what: string, path: string, init?: RequestInit | (() => Promise<RequestInit>)]>([
    ["an unknown path", `/v2/${encoded}`],
    ["a path without a route", `/v1/${encoded}`, put("")],
    ["a method that a path does not have", `/v1/load/${encoded}`],
    ["a repository", `/v2/${encoded}/manifests/1`],
    ["a tag", `/v2/team/app/manifests/${encoded}`],
    ["a tag that is deleted", `/v2/team/app/manifests/${encoded}`, { method: "DELETE" }],
    ["a blob's digest", `/v2/team/app/blobs/${encoded}`],
    ["a subject's digest", `/v2/team/app/referrers/${encoded}`],
    ["a name to load into", `/v1/load/${encoded}`, put("")],
    ["a tag to load under", `/v1/load/team/app:${encoded}`, put("")],
    ["a number of tags", `/v2/team/app/tags/list?n=${encoded}`],
    ["a query parameter", `/v1/load?${encoded}=1`, put("")],
    ["an upload", `/v1/uploads/${encoded}`],
    ["a part", `/v1/uploads/1/parts/${encoded}?key=${encoded}`, put("")],
    ["a condition", "/v1/load/team/app:1", put("", { "If-Match": header })],
    ["a content encoding", "/v1/load", put("", { "Content-Encoding": header })],
    ["JSON that is none", "/v1/uploads", post(`{"size":${evil}}`)],
    ["a size", "/v1/uploads", post(JSON.stringify({ size: evil }))],
    ["a fingerprint", "/v1/uploads", post(JSON.stringify({ size: 1, fingerprint: { [evil]: evil } }))],
    ["digests", "/v1/blobs/missing", post(JSON.stringify({ digests: [evil] }))],
    ["an entry's name", "/v1/load", put(rawTar([{ name: `../${evil}` }]))],
    ["a long name", "/v1/load", put(rawTar([longNameEntry(`/${evil.repeat(20)}`), { name: "a" }]))],
    ["names that differ", "/v1/load", put(rawTar([paxEntry({ path: evil }), longNameEntry("b"), { name: "a" }]))],
    ["a size in pax", "/v1/load", put(rawTar([paxEntry({ size: evil }), { name: "a" }]))],
    ["a name among the blobs", "/v1/load", put(rawTar([{ name: `blobs/sha256/${evil}` }]))],
    ["an index that is no JSON", "/v1/load", put(indexTar(`{${evil}`))],
    ["a digest in an index", "/v1/load", put(indexTar(JSON.stringify({ manifests: [{ digest: evil, size: 1 }] })))],
    ["another digest in an index", "/v1/load", put(indexTar(`{"manifests":[{"digest":"a:${"b".repeat(9999)}"}]}`))],
    ["a key in an index", "/v1/load", put(indexTar(JSON.stringify({ manifests: [], Annotations: { [evil]: 1 } })))],
    ["a number over two lines", "/v1/load", put(indexTar('{"schemaVersion"\n:\r\n2.0,"manifests":[]}'))],
    ["a name in an archive", "/v1/load", async () => put(await named({ "io.containerd.image.name": evil }))],
    ["a tag in an archive", "/v1/load", async () => put(await named({ "org.opencontainers.image.ref.name": evil }))],
    ["a config of Docker's", "/v1/load", put(dockerTar({ Config: evil, Layers: [], RepoTags: [] }))],
    ["a layer of Docker's", "/v1/load", put(dockerTar({ Config: `${evil}.json`, Layers: [`${evil}.tar`] }))],
    ["a name of Docker's", "/v1/load", put(dockerTar({ Config: "c.json", Layers: [], RepoTags: [`${evil}:1`] }))],
  ])("shows %s without its control characters", async (_, path, given) => {
    const response = await app.request(path, typeof given === "function" ? await given() : given);
    expect(response.status).toBeGreaterThanOrEqual(400);
    expect(response.status).toBeLessThan(500);
    const text = await response.text();
    expect(text.endsWith("\n")).toBe(true);
    expect(text.slice(0, -1)).not.toMatch(unseen);
    const { errors } = JSON.parse(text) as { errors: { message: string }[] };
    expect(errors[0]?.message).not.toMatch(unseen);
    expect(errors[0]?.message.length).toBeLessThan(2500);
  });

  it.each([
    ["the path", `/v2/team/app/manifests/${encoded}`, () => new Error("broken")],
    ["an error that nobody foresaw", "/v2/team/app/manifests/1", () => new Error(evil)],
  ])("in the log is one line, whatever %s has in it", async (_, path, failure) => {
    class BrokenStore extends ForwardingStore {
      override async get(): Promise<never> {
        return Promise.reject(failure());
      }
    }
    const broken = createApp({
      layout: openLayout(new BrokenStore(new MemoryStore())),
      access: "anyone",
      report: notesIn(() => log),
    });
    expect((await broken.request(path)).status).toBe(500);
    expect(log).toHaveLength(1);
    const [line = "", ...frames] = (log[0] ?? "").split("\n");
    expect(line).not.toMatch(unseen);
    expect(frames.filter((frame) => !frame.startsWith("    at ") || unseen.test(frame))).toEqual([]);
  });

  it("of a receipt lists entries that were ignored in the same way", async () => {
    const tar = await tarOf(makeLayout({ name: "team/app:1" }));
    const odd = rawTar([{ name: `odd-${evil}` }]);
    const body = Buffer.concat([odd.subarray(0, odd.length - 1024), tar]);
    const response = await app.request("/v1/load?verbose=true", put(body));
    expect(response.status).toBe(201);
    const text = await response.text();
    for (const line of text.split("\n")) expect(line).not.toMatch(unseen);
    expect(JSON.parse(text)).toMatchObject({ ignored: [{ path: `odd-${evil}` }] });
  });
});
