/** A registry that answers wrongly, late or not at all, and one that wants to know who asks. */
import { afterEach, describe, expect, it } from "vitest";
import type { ImageSource } from "../../src/remote/image-source.ts";
import { parseRegistryAddress } from "../../src/remote/registry-address.ts";
import { RegistrySource, type RegistrySourceOptions } from "../../src/remote/registry-source.ts";
import { VerifiedBytes } from "../../src/streams/verify-bytes.ts";
import { randomBytes, readAll, sha256, sha512 } from "../support/bytes.ts";
import { makeLayout, types } from "../support/layout.ts";
import { type Answer, type FakeRegistry, quickClock, startFakeRegistry } from "./fake-registry.ts";

const image = makeLayout({ label: "image" });
const manifest = image.blobs.get(image.digest) ?? Buffer.alloc(0);
const blob = randomBytes(3 * 1024 * 1024);
const expected = { digest: sha256(blob), size: blob.length };

const opened: FakeRegistry[] = [];
afterEach(async () => {
  for (const registry of opened.splice(0)) await registry.close();
});

async function serve(answer: Answer): Promise<FakeRegistry> {
  const registry = await startFakeRegistry(answer);
  opened.push(registry);
  return registry;
}

interface Opened {
  readonly registry: FakeRegistry;
  readonly source: ImageSource;
  /** Seconds. */
  readonly waits: readonly number[];
}

async function open(answer: Answer, options: RegistrySourceOptions = {}): Promise<Opened> {
  const registry = await serve(answer);
  const { clock, waits } = quickClock();
  return { registry, waits, source: new RegistrySource(parseRegistryAddress(registry.url), { clock, ...options }) };
}

const sendManifest: Answer = (_, response) => response.writeHead(200, { "Content-Type": types.manifest }).end(manifest);

/** Sends the blob from the place that is asked for, but not beyond `end`. */
function sendBlob(end = blob.length): Answer {
  return ({ headers }, response) => {
    const start = Number(/^bytes=(\d+)-/.exec(headers.range ?? "")?.[1] ?? 0);
    const range = { "Content-Range": `bytes ${start}-${blob.length - 1}/${blob.length}` };
    response.writeHead(start === 0 ? 200 : 206, {
      "Content-Length": blob.length - start,
      ...(start > 0 && range),
    });
    if (end >= blob.length) response.end(blob.subarray(start));
    else response.write(blob.subarray(start, end), () => response.destroy());
  };
}

/** The answers one after the other; the last one again and again. */
function inTurn(...answers: readonly Answer[]): Answer {
  let next = 0;
  return (request, response) => answers[Math.min(next++, answers.length - 1)]?.(request, response);
}

async function readBlob(source: ImageSource, start = 0, wanted = expected): Promise<Buffer> {
  const body = await source.readBlob("team/app", wanted, { start });
  if (body === undefined) throw new Error("expected a blob");
  return readAll(body);
}

describe("RegistrySource.readManifest", () => {
  it("reads by tag and by digest, and asks for the four types", async () => {
    let accept: string | undefined;
    const { source, registry } = await open((request, response) => {
      accept = request.headers.accept;
      sendManifest(request, response);
    });
    const found = await source.readManifest("team/app", "1.4");
    expect(found).toMatchObject({ digest: image.digest, mediaType: types.manifest, size: manifest.length });
    expect(Buffer.compare(found?.bytes ?? Buffer.alloc(0), manifest)).toBe(0);
    expect(await source.readManifest("team/app", image.digest)).toMatchObject({ manifest: { kind: "manifest" } });
    expect(registry.asked).toEqual(["GET /v2/team/app/manifests/1.4", `GET /v2/team/app/manifests/${image.digest}`]);
    expect(accept?.split(", ").toSorted()).toEqual(
      [types.index, types.manifest, types.dockerList, types.dockerManifest].toSorted(),
    );
  });

  it("is undefined for a manifest that is not there", async () => {
    const { source } = await open((_, response) => response.writeHead(404).end());
    expect(await source.readManifest("team/app", "1.4")).toBeUndefined();
    expect(await source.headManifest("team/app", "1.4")).toBeUndefined();
  });

  it("refuses bytes that have not the digest that was asked for", async () => {
    const { source } = await open(sendManifest);
    const other = `sha256:${"0".repeat(64)}`;
    await expect(source.readManifest("team/app", other)).rejects.toMatchObject({
      code: "DIGEST_INVALID",
      message: expect.stringContaining(`have digest "${image.digest}", expected "${other}"`) as unknown,
    });
  });

  it("refuses bytes that have not the digest that the registry says", async () => {
    const headers = { "Content-Type": types.manifest, "Docker-Content-Digest": `sha256:${"0".repeat(64)}` };
    const { source } = await open((_, response) => response.writeHead(200, headers).end(manifest));
    await expect(source.readManifest("team/app", "1.4")).rejects.toMatchObject({ code: "DIGEST_INVALID" });
  });

  it("has the digest that the registry says, of either algorithm", async () => {
    const headers = { "Content-Type": types.manifest, "Docker-Content-Digest": sha512(manifest) };
    const { source } = await open((_, response) => response.writeHead(200, headers).end(manifest));
    expect(await source.readManifest("team/app", "1.4")).toMatchObject({ digest: sha512(manifest) });
    expect(await source.readManifest("team/app", sha512(manifest))).toMatchObject({ digest: sha512(manifest) });
    await expect(source.readManifest("team/app", sha512(blob))).rejects.toMatchObject({ code: "DIGEST_INVALID" });
  });

  it("stops reading a manifest that is too large, also one without an end", async () => {
    let isClosed: Promise<unknown> | undefined;
    const { source } = await open((_, response) => {
      isClosed = new Promise((resolve) => response.on("close", resolve));
      response.writeHead(200, { "Content-Type": types.manifest });
      const more = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(64 * 1024, " "))) continue;
      };
      response.on("drain", more);
      more();
    });
    await expect(source.readManifest("team/app", "1.4")).rejects.toMatchObject({ code: "LIMIT_EXCEEDED" });
    await isClosed;
  });

  it("refuses what is no manifest", async () => {
    const { source } = await open((_, response) => response.end("<html>"));
    await expect(source.readManifest("team/app", "1.4")).rejects.toMatchObject({ code: "MANIFEST_INVALID" });
  });

  it("reads a manifest again that was cut short", async () => {
    const cut: Answer = (_, response) => {
      response.writeHead(200, { "Content-Length": manifest.length });
      response.write(manifest.subarray(0, 20), () => response.destroy());
    };
    const { source, waits } = await open(inTurn(cut, cut, sendManifest));
    expect(await source.readManifest("team/app", "1.4")).toMatchObject({ digest: image.digest });
    expect(waits).toEqual([0.5, 1]);
  });

  it.each([
    ["../../v1/secret", "1.4", "NAME_INVALID"],
    ["Team/app", "1.4", "NAME_INVALID"],
    ["team/app", "../tags/list", "NAME_INVALID"],
    ["team/app", "sha256:12", "DIGEST_INVALID"],
    ["team/app", `sha512:${"0".repeat(64)}`, "DIGEST_INVALID"],
    ["team/app", `sha384:${"0".repeat(96)}`, "UNSUPPORTED"],
  ])("asks nothing for the repository %j and the reference %j", async (repository, reference, code) => {
    const { source, registry } = await open(sendManifest);
    await expect(source.readManifest(repository, reference)).rejects.toMatchObject({ code });
    expect(registry.asked).toEqual([]);
  });
});

describe("RegistrySource.headManifest", () => {
  it("reads no bytes where the headers say everything", async () => {
    const headers = {
      "Content-Type": types.manifest,
      "Content-Length": manifest.length,
      "Docker-Content-Digest": image.digest,
    };
    const { source, registry } = await open((_, response) => response.writeHead(200, headers).end());
    const identity = { digest: image.digest, mediaType: types.manifest, size: manifest.length };
    expect(await source.headManifest("team/app", "1.4")).toEqual(identity);
    expect(registry.asked).toEqual(["HEAD /v2/team/app/manifests/1.4"]);
  });

  it("reads the manifest where they do not", async () => {
    const { source, registry } = await open(sendManifest);
    const identity = { digest: image.digest, mediaType: types.manifest, size: manifest.length };
    expect(await source.headManifest("team/app", "1.4")).toEqual(identity);
    expect(registry.asked).toEqual(["HEAD /v2/team/app/manifests/1.4", "GET /v2/team/app/manifests/1.4"]);
  });
});

describe("RegistrySource.readBlob", () => {
  it("reads a blob, and the rest of one", async () => {
    const { source, registry } = await open(sendBlob());
    expect(Buffer.compare(await readBlob(source), blob)).toBe(0);
    expect(Buffer.compare(await readBlob(source, 1_000_000), blob.subarray(1_000_000))).toBe(0);
    expect(registry.asked).toHaveLength(2);
  });

  it("goes on where a body was cut short", async () => {
    const { source, registry, waits } = await open(inTurn(sendBlob(2_000_000), sendBlob(2_000_100), sendBlob()));
    expect(Buffer.compare(await readBlob(source), blob)).toBe(0);
    expect(registry.asked).toHaveLength(3);
    expect(waits).toEqual([0.5, 1]);
  });

  it("goes on at a server that ignores ranges", async () => {
    const whole: Answer = (_, response) => response.writeHead(200, { "Content-Length": blob.length }).end(blob);
    const { source } = await open(inTurn(sendBlob(2_000_000), whole));
    expect(Buffer.compare(await readBlob(source), blob)).toBe(0);
    expect(Buffer.compare(await readBlob(source, 1_000_001), blob.subarray(1_000_001))).toBe(0);
  });

  it("goes on again and again while a megabyte comes each time, as a large blob may be cut often", async () => {
    const large = { digest: sha256(Buffer.of(1)), size: 20 * 1024 * 1024 };
    const { source } = await open(({ headers }, response) => {
      const start = Number(/^bytes=(\d+)-/.exec(headers.range ?? "")?.[1] ?? 0);
      const range = { "Content-Range": `bytes ${start}-${large.size - 1}/${large.size}` };
      response.writeHead(start === 0 ? 200 : 206, { "Content-Length": large.size - start, ...(start > 0 && range) });
      response.write(Buffer.alloc(Math.min(1024 * 1024 + 1, large.size - start)), () => response.destroy());
    });
    expect((await readBlob(source, 0, large)).length).toBe(large.size);
  });

  it("gives up a body that is cut short at the same place each time, and says where", async () => {
    const { source, registry } = await open(sendBlob(2_000_000));
    await expect(readBlob(source)).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringMatching(/^Cannot read blob "sha256:\w+" of "team\/app" from http:\S+: /) as unknown,
    });
    expect(registry.asked.length).toBeGreaterThan(3);
    expect(registry.asked.length).toBeLessThan(30);
  });

  it("is undefined for a blob that is not there", async () => {
    const { source } = await open((_, response) => response.writeHead(404).end());
    expect(await source.readBlob("team/app", expected)).toBeUndefined();
    expect(await source.readBlob("team/app", expected, { start: blob.length })).toBeUndefined();
    expect(await source.headBlob("team/app", expected.digest)).toBeUndefined();
  });

  it.each<[string, Answer]>([
    ["another length", (_, response) => response.end("short")],
    [
      "more bytes than it has",
      (_, response) => {
        response.write(blob);
        response.end("x");
      },
    ],
    [
      "another range",
      (_, response) => response.writeHead(206, { "Content-Range": `bytes 5-9/${blob.length}` }).end("12345"),
    ],
    [
      "a range of another blob",
      (_, response) => response.writeHead(206, { "Content-Range": "bytes 0-4/5" }).end("12345"),
    ],
  ])("refuses %s", async (_, answer) => {
    const { source } = await open(answer);
    await expect(readBlob(source)).rejects.toMatchObject({ code: "SIZE_INVALID" });
  });

  it("refuses a rest of a blob that has none", async () => {
    const { source } = await open((_, response) => response.writeHead(416).end());
    await expect(readBlob(source, 1000)).rejects.toMatchObject({ code: "SIZE_INVALID" });
  });

  it("leaves the digest to its reader", async () => {
    const wrong = randomBytes(blob.length, 2);
    const { source } = await open((_, response) => response.end(wrong));
    const body = await source.readBlob("team/app", expected);
    if (body === undefined) throw new Error("expected a blob");
    await expect(readAll(new VerifiedBytes(body, expected))).rejects.toMatchObject({ code: "DIGEST_INVALID" });
  });

  it("closes the connection when its reader leaves, also before the first chunk", async () => {
    for (const isRead of [true, false]) {
      let isClosed: Promise<unknown> | undefined;
      const { source } = await open((_, response) => {
        isClosed = new Promise((resolve) => response.on("close", resolve));
        response.writeHead(200, { "Content-Length": blob.length });
        response.write(blob.subarray(0, 100_000));
      });
      const body = (await source.readBlob("team/app", expected))?.[Symbol.asyncIterator]();
      if (isRead) await body?.next();
      await body?.return?.();
      await isClosed;
    }
  });

  it("lets the server send no faster than its reader reads", async () => {
    const size = 256 * 1024 * 1024;
    let sent = 0;
    const { source } = await open((_, response) => {
      response.writeHead(200, { "Content-Length": size });
      const chunk = Buffer.alloc(1024 * 1024);
      const more = (): void => {
        let isFree = true;
        while (isFree && sent < size && !response.destroyed) {
          isFree = response.write(chunk);
          sent += chunk.length;
        }
      };
      response.on("drain", more);
      more();
    });
    const body = (await source.readBlob("team/app", { ...expected, size }))?.[Symbol.asyncIterator]();
    await body?.next();
    for (let before = -1; before !== sent;) {
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect(sent).toBeLessThan(64 * 1024 * 1024);
    await body?.return?.();
  });

  it("reads nothing of a blob without bytes", async () => {
    const { source } = await open((_, response) => response.writeHead(200, { "Content-Length": 0 }).end());
    const empty = { digest: sha256(Buffer.alloc(0)), size: 0 };
    expect((await readBlob(source, 0, empty)).length).toBe(0);
  });
});

describe("RegistrySource.headBlob", () => {
  it("asks for one byte where the bucket behind the registry refuses HEAD", async () => {
    const bucket = await serve(({ method }, response) => {
      if (method === "HEAD") response.writeHead(403).end();
      else response.writeHead(206, { "Content-Range": "bytes 0-0/1234" }).end("x");
    });
    const { source } = await open((_, response) => response.writeHead(307, { Location: `${bucket.url}/blob` }).end());
    expect(await source.headBlob("team/app", expected.digest)).toBe(1234);
  });
});

describe("redirects of a registry", () => {
  const credentials = { user: "me", password: "secret" };
  const basic = `Basic ${Buffer.from("me:secret").toString("base64")}`;

  it("are followed to another host, which is shown no credentials", async () => {
    const bucket = await serve(sendBlob());
    const { source, registry } = await open(
      ({ headers }, response) => {
        if (headers.authorization === undefined) response.writeHead(401, { "WWW-Authenticate": "Basic" }).end();
        else response.writeHead(307, { Location: `${bucket.url}/key?X-Amz-Signature=1` }).end();
      },
      { credentials },
    );
    expect(Buffer.compare(await readBlob(source), blob)).toBe(0);
    expect(Buffer.compare(await readBlob(source, 1000), blob.subarray(1000))).toBe(0);
    expect(registry.shown).toEqual([undefined, basic, basic]);
    expect(bucket.shown).toEqual([undefined, undefined]);
    expect(bucket.asked[0]).toBe("GET /key?X-Amz-Signature=1");
  });

  it("to another host and back are shown no credentials again", async () => {
    const other = await serve((_, response) => response.writeHead(302, { Location: `${registry.url}/back` }).end());
    const { source, registry } = await open(
      ({ url, headers }, response) => {
        if (url === "/back") response.writeHead(401, { "WWW-Authenticate": "Basic" }).end();
        else if (headers.authorization === undefined) response.writeHead(401, { "WWW-Authenticate": "Basic" }).end();
        else response.writeHead(302, { Location: other.url }).end();
      },
      { credentials },
    );
    await expect(readBlob(source)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(registry.shown).toEqual([undefined, basic, undefined]);
    expect(other.shown).toEqual([undefined]);
  });

  it("on the same host keep the credentials", async () => {
    const { source, registry } = await open(
      (request, response) => {
        const { url, headers } = request;
        if (headers.authorization === undefined) response.writeHead(401, { "WWW-Authenticate": "Basic" }).end();
        else if (url === "/elsewhere") sendBlob()(request, response);
        else response.writeHead(308, { Location: "/elsewhere" }).end();
      },
      { credentials },
    );
    expect(Buffer.compare(await readBlob(source), blob)).toBe(0);
    expect(registry.shown).toEqual([undefined, basic, basic]);
  });

  it.each([
    ["in a circle", "/v2/team/app/blobs/again", /it is the redirect after 5 others/],
    ["to no web address", "file:///etc/passwd", /its target is no web address/],
    ["to an address with a user", "http://me:secret@127.0.0.1:1/", /its target has a user$/],
  ])("%s are an error", async (_, location, message) => {
    const { source, registry, waits } = await open((__, response) =>
      response.writeHead(307, { Location: location }).end(),
    );
    await expect(readBlob(source)).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringMatching(message) as unknown,
    });
    expect(registry.asked.length).toBeLessThanOrEqual(6);
    expect(waits).toEqual([]);
  });

  it("whose target refuses name its host, and not the signature in its URL", async () => {
    const bucket = await serve((_, response) => response.writeHead(403).end("<Error>expired</Error>"));
    const { source } = await open((_, response) => {
      response.writeHead(307, { Location: `${bucket.url}/key?signature=secret` }).end();
    });
    const error = await readBlob(source).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringContaining(`${bucket.url} answered 403 <Error>expired</Error>`) as unknown,
    });
    expect(JSON.stringify(error) + String(error)).not.toContain("secret");
  });
});

describe("a registry that wants a token", () => {
  const scope = "repository:team/app:pull";

  interface TokenRegistry extends Opened {
    readonly service: FakeRegistry;
    /** Only tokens of this round are good. */
    readonly expire: () => void;
  }

  async function openWithTokens(
    options: RegistrySourceOptions = {},
    {
      realm,
      grants = (): boolean => true,
    }: { readonly realm?: string; readonly grants?: Answer | (() => boolean) } = {},
  ): Promise<TokenRegistry> {
    let round = 1;
    const service = await serve((request, response) => {
      const isGranted = grants(request, response) === true;
      response.writeHead(isGranted ? 200 : 401).end(isGranted ? JSON.stringify({ token: `token-${round}` }) : "no");
    });
    const challenge = `Bearer realm="${realm ?? `${service.url}/token`}",service="reg",scope="${scope}"`;
    const found = await open((request, response) => {
      if (request.headers.authorization === `Bearer token-${round}`) sendManifest(request, response);
      else response.writeHead(401, { "WWW-Authenticate": challenge }).end();
    }, options);
    return { ...found, service, expire: () => round++ };
  }

  it("is asked again with a token for anybody, which is kept", async () => {
    const { source, service, registry } = await openWithTokens();
    for (const tag of ["1", "2"]) expect(await source.readManifest("team/app", tag)).toBeDefined();
    expect(service.asked).toEqual([`GET /token?service=reg&scope=${encodeURIComponent(scope)}`]);
    expect(service.shown).toEqual([undefined]);
    expect(registry.shown).toEqual([undefined, "Bearer token-1", "Bearer token-1"]);
  });

  it("shows user and password to the token service alone", async () => {
    const { source, service, registry } = await openWithTokens({ credentials: { user: "me", password: "pass:word" } });
    expect(await source.readManifest("team/app", "1")).toBeDefined();
    expect(service.shown).toEqual([`Basic ${Buffer.from("me:pass:word").toString("base64")}`]);
    expect(registry.shown).toEqual([undefined, "Bearer token-1"]);
  });

  it("takes an identity token to the token service, in a form", async () => {
    let form = "";
    const grants: Answer = (request) => {
      request.on("data", (chunk: Buffer) => (form += chunk.toString()));
      return true;
    };
    const { source, service } = await openWithTokens({ credentials: { identityToken: "refresh" } }, { grants });
    expect(await source.readManifest("team/app", "1")).toBeDefined();
    expect(service.asked).toEqual(["POST /token"]);
    expect(Object.fromEntries(new URLSearchParams(form))).toEqual({
      grant_type: "refresh_token",
      refresh_token: "refresh",
      client_id: "stowage",
      service: "reg",
      scope,
    });
  });

  it("is asked for one new token when many requests meet an old one", async () => {
    const { source, service, expire } = await openWithTokens();
    await source.readManifest("team/app", "1");
    expire();
    await Promise.all(Array.from({ length: 10 }, async () => source.readManifest("team/app", "1")));
    expect(service.asked).toHaveLength(2);
  });

  it("is not asked a third time", async () => {
    const challenge = (url: string): string => `Bearer realm="${url}/token"`;
    const service = await serve((_, response) => response.end(JSON.stringify({ access_token: "useless" })));
    const { source, registry, waits } = await open((_, response) => {
      response.writeHead(401, { "WWW-Authenticate": challenge(service.url) });
      response.end(JSON.stringify({ errors: [{ code: "UNAUTHORIZED", message: "private" }] }));
    });
    await expect(source.readManifest("team/app", "1")).rejects.toMatchObject({
      code: "UNAUTHORIZED",
      message: expect.stringMatching(
        /it answered 401 UNAUTHORIZED: private; it was asked without credentials$/,
      ) as unknown,
    });
    expect([registry.asked.length, service.asked.length, waits]).toEqual([2, 1, []]);
  });

  it("and whose token service refuses is an error that says so, without the password", async () => {
    const credentials = { user: "me", password: "secret" };
    const { source } = await openWithTokens({ credentials }, { grants: () => false });
    const error = await source.readManifest("team/app", "1").catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: "UNAUTHORIZED",
      message: expect.stringMatching(/^Cannot get a token from http:\/\/\S+\/token: it answered 401 no$/) as unknown,
    });
    expect(JSON.stringify(error) + String(error)).not.toContain("secret");
  });

  it.each([
    "http://tokens.example/token",
    "http://10.0.0.1/token",
    "ftp://127.0.0.1/",
    "https://me:pw@127.0.0.1/",
    "x",
  ])("gets none from %s", async (realm) => {
    const { source, registry } = await openWithTokens({ credentials: { user: "me", password: "secret" } }, { realm });
    await expect(source.readManifest("team/app", "1")).rejects.toMatchObject({
      code: "UNAUTHORIZED",
      message: expect.stringContaining("as its token service, expected https://") as unknown,
    });
    expect(registry.shown).toEqual([undefined]);
  });

  it("sends no form along a redirect of the token service", async () => {
    const other = await serve((_, response) => response.end(JSON.stringify({ token: "x" })));
    const service = await serve((_, response) => response.writeHead(307, { Location: other.url }).end());
    const { source } = await open(
      (_, response) => response.writeHead(401, { "WWW-Authenticate": `Bearer realm="${service.url}/"` }).end(),
      { credentials: { identityToken: "refresh" } },
    );
    await expect(source.readManifest("team/app", "1")).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(other.asked).toEqual([]);
  });

  it.each([
    ["a service", 'Basic realm="Stowage"', [undefined, "Bearer own"]],
    ["another registry", 'Basic realm="Registry"', [undefined]],
    ["a registry that asks for nothing", undefined, [undefined]],
  ])("of a realm is shown to a registry that asks for this realm: %s", async (_, challenge, shown) => {
    const { source, registry } = await open(
      (request, response) => {
        if (challenge === undefined || request.headers.authorization === "Bearer own") sendManifest(request, response);
        else response.writeHead(401, { "WWW-Authenticate": challenge }).end();
      },
      { realmToken: { realm: "Stowage", find: async () => "own" } },
    );
    await source.readManifest("team/app", "1").catch(() => undefined);
    expect(registry.shown).toEqual(shown);
  });

  it("of a realm is asked for again when the registry refuses it, once for many requests", async () => {
    let round = 1;
    const { source, registry } = await open(
      (request, response) => {
        if (request.headers.authorization === `Bearer own-${round}`) sendManifest(request, response);
        else response.writeHead(401, { "WWW-Authenticate": 'Basic realm="Stowage"' }).end();
      },
      { realmToken: { realm: "Stowage", find: async () => `own-${round}` } },
    );
    await source.readManifest("team/app", "1");
    round = 2;
    await Promise.all(Array.from({ length: 3 }, async () => source.readManifest("team/app", "1")));
    const { shown } = registry;
    expect(shown.slice(0, 2)).toEqual([undefined, "Bearer own-1"]);
    expect(shown.slice(2).filter((header) => header === "Bearer own-2")).toHaveLength(3);
  });

  it("that has been set is shown with every request, and renewed by nobody", async () => {
    const { source, registry, service } = await openWithTokens({ credentials: { token: "own" } });
    await expect(source.readManifest("team/app", "1")).rejects.toMatchObject({ code: "UNAUTHORIZED" });
    expect(registry.shown).toEqual(["Bearer own"]);
    expect(service.asked).toEqual([]);
  });

  it("asks where credentials are kept, once and only when they are needed", async () => {
    const asked: string[] = [];
    const findCredentials = async (host: string): Promise<{ user: string; password: string }> => {
      asked.push(host);
      return { user: "me", password: "kept" };
    };
    const { source, registry, service } = await openWithTokens({ findCredentials });
    expect(asked).toEqual([]);
    await Promise.all([source.readManifest("team/app", "1"), source.readManifest("team/other", "1")]);
    expect(asked).toEqual([new URL(registry.url).host]);
    expect(new Set(service.shown)).toEqual(new Set([`Basic ${Buffer.from("me:kept").toString("base64")}`]));
  });

  it("says what is wrong with a password", async () => {
    const { source, registry } = await open(
      (_, response) => response.writeHead(401, { "WWW-Authenticate": 'Basic realm="x"' }).end(),
      { credentials: { user: "me", password: "wrong" } },
    );
    await expect(source.readManifest("team/app", "1")).rejects.toMatchObject({
      code: "UNAUTHORIZED",
      message: expect.stringMatching(/it answered 401 and says no more$/) as unknown,
    });
    expect(registry.asked).toHaveLength(2);
  });
});

describe("a registry that is busy, broken or silent", () => {
  const busy = (retryAfter: string): Answer => {
    return (_, response) => response.writeHead(429, { "Retry-After": retryAfter }).end();
  };

  it("is asked again after the time that it names", async () => {
    const { source, waits } = await open(inTurn(busy("7"), busy("Mon, 30 Nov 2026 00:00:30 GMT"), sendManifest));
    expect(await source.readManifest("team/app", "1")).toBeDefined();
    expect(waits).toEqual([7, 30]);
  });

  it("is not waited for if it names a long time", async () => {
    const { source, waits, registry } = await open(busy("3600"));
    await expect(source.readManifest("team/app", "1")).rejects.toMatchObject({
      code: "TOOMANYREQUESTS",
      message: expect.stringContaining("it asks to wait 3600 seconds") as unknown,
    });
    expect([waits, registry.asked.length]).toEqual([[], 1]);
  });

  it.each([500, 502, 503, 504, 408])("is asked five times if it answers %i", async (status) => {
    const { source, waits, registry } = await open((_, response) => response.writeHead(status).end("down"));
    await expect(source.readManifest("team/app", "1")).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringContaining(`it answered ${status} down`) as unknown,
    });
    expect([waits, registry.asked.length]).toEqual([[0.5, 1, 2, 4], 5]);
  });

  it("is asked once if it refuses", async () => {
    const { source, registry } = await open((_, response) => {
      response.writeHead(403).end(JSON.stringify({ errors: [{ code: "DENIED", message: "not you\u001b[2J" }] }));
    });
    await expect(source.readManifest("team/app", "1")).rejects.toMatchObject({
      code: "DENIED",
      message: expect.stringMatching(/it answered 403 DENIED: not you\\u001b\[2J$/) as unknown,
    });
    expect(registry.asked).toHaveLength(1);
  });

  it("is given up if it does not answer", async () => {
    const { source, waits } = await open(() => undefined, { maxIdleSeconds: 0.05 });
    await expect(source.readManifest("team/app", "1")).rejects.toMatchObject({
      code: "TIMED_OUT",
      message: expect.stringContaining("nothing came for 0.05 seconds") as unknown,
    });
    expect(waits).toEqual([0.5, 1, 2, 4]);
  });

  it("is given up if it is silent in the middle of a blob, and goes on if it is so once", async () => {
    const silent: Answer = (_, response) => {
      response.writeHead(200, { "Content-Length": blob.length });
      response.write(blob.subarray(0, 1000));
    };
    const once = await open(inTurn(silent, sendBlob()), { maxIdleSeconds: 0.2 });
    expect(Buffer.compare(await readBlob(once.source), blob)).toBe(0);
    const always = await open(silent, { maxIdleSeconds: 0.05 });
    await expect(readBlob(always.source)).rejects.toMatchObject({ code: "TIMED_OUT" });
  });

  it("that is not there is an error at once", async () => {
    const { source, registry, waits } = await open(sendManifest);
    await registry.close();
    opened.splice(0);
    await expect(source.readManifest("team/app", "1")).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringContaining("nothing listens there") as unknown,
    });
    expect(waits).toEqual([]);
  });

  it("is left when the signal fires: before the answer, in the middle of a body, in a wait", async () => {
    const silent: Answer = (_, response) => {
      response.writeHead(200, { "Content-Length": blob.length });
      response.write(blob.subarray(0, 1000));
    };
    const reason = new Error("enough");
    const stop = new AbortController();
    const unanswered = await open(() => stop.abort(reason));
    await expect(unanswered.source.readManifest("team/app", "1", { signal: stop.signal })).rejects.toBe(reason);
    const again = new AbortController();
    const { source } = await open(silent);
    const body = await source.readBlob("team/app", expected, { signal: again.signal });
    const iterator = body?.[Symbol.asyncIterator]();
    await iterator?.next();
    const rest = iterator?.next();
    again.abort(reason);
    await expect(rest).rejects.toBe(reason);
    const waiting = new AbortController();
    const registry = await serve(busy("60"));
    const patient = new RegistrySource(parseRegistryAddress(registry.url)); // the system's clock
    const read = patient.readManifest("team/app", "1", { signal: waiting.signal });
    setTimeout(() => waiting.abort(reason), 50);
    await expect(read).rejects.toBe(reason);
  });
});

describe("lists of a registry", () => {
  const json = (value: unknown, headers = {}): Answer => {
    return (_, response) => response.writeHead(200, headers).end(JSON.stringify(value));
  };

  it("are read page by page from the same host, also if a link names another host", async () => {
    const other = await serve(json({ tags: ["stolen"] }));
    const { source, registry } = await open(
      inTurn(
        json({ tags: ["1", "2"] }, { Link: `<${other.url}/v2/x/tags/list?last=2&n=1000>; rel="next"` }),
        json({ tags: ["3"] }, { Link: "</v2/other/tags/list?last=3>;rel=next" }),
        json({ tags: null }),
      ),
    );
    expect(await source.listEntries("team/app")).toEqual([{ reference: "1" }, { reference: "2" }, { reference: "3" }]);
    expect(registry.asked).toEqual([
      "GET /v2/team/app/tags/list?n=1000",
      "GET /v2/team/app/tags/list?last=2&n=1000",
      "GET /v2/team/app/tags/list?last=3",
    ]);
    expect(other.asked).toEqual([]);
  });

  it("leave out names that nobody can ask for", async () => {
    const { source } = await open(json({ tags: ["1", "../x", 2, ""], repositories: ["team/app", "../x", "A"] }));
    expect(await source.listEntries("team/app")).toEqual([{ reference: "1" }]);
    expect(await source.listRepositories()).toEqual(["team/app"]);
  });

  it("end at a cap if they have no end: by pages, and by bytes", async () => {
    const next = { Link: '</v2/team/app/tags/list?last=x>; rel="next"' };
    const small = await open(json({ tags: [] }, next));
    await expect(small.source.listEntries("team/app")).rejects.toMatchObject({ code: "LIMIT_EXCEEDED" });
    const page = JSON.stringify({ tags: Array.from({ length: 100_000 }, (_, i) => `tag-${i}`) });
    const large = await open((_, response) => response.writeHead(200, next).end(page));
    await expect(large.source.listEntries("team/app")).rejects.toMatchObject({ code: "LIMIT_EXCEEDED" });
    expect(large.registry.asked.length).toBeLessThan(100);
  });

  it("that are no lists are an error", async () => {
    const { source } = await open((_, response) => response.end("<html>Welcome</html>"));
    await expect(source.listEntries("team/app")).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringContaining("is this a registry?") as unknown,
    });
  });

  it("of a registry without them are an error that says so", async () => {
    const { source } = await open((_, response) => response.writeHead(404).end());
    await expect(source.listRepositories()).rejects.toMatchObject({ code: "UNSUPPORTED" });
    await expect(source.listEntries("team/app")).rejects.toMatchObject({ code: "NAME_UNKNOWN" });
  });

  it("of referrers are read page by page", async () => {
    const [one, two] = ["1", "2"].map((label) => {
      const { digest } = makeLayout({ label });
      return { mediaType: types.manifest, digest, size: 100 };
    });
    const pages = inTurn(
      json({ manifests: [one] }, { Link: `</x?last=${one?.digest}>; rel="next"` }),
      json({ manifests: [two] }),
    );
    const signature = { mediaType: types.manifest, digest: image.digest, size: 100 };
    const { source, registry } = await open((request, response) => {
      if (request.method === "GET") pages(request, response);
      else if (request.url?.endsWith(".sig") !== true) response.writeHead(404).end();
      else {
        const headers = {
          "Docker-Content-Digest": image.digest,
          "Content-Type": types.manifest,
          "Content-Length": 100,
        };
        response.writeHead(200, headers).end();
      }
    });
    const tag = `${image.digest.replace(":", "-")}.sig`; // cosign's
    expect(await source.listReferrers("team/app", new Set([image.digest]))).toEqual([one, two, { ...signature, tag }]);
    expect(registry.asked[0]).toBe(`GET /v2/team/app/referrers/${image.digest}`);
  });

  it.each([
    ["of referrers are found under a tag where the registry has no such list", image.digest],
    ["of the referrers of a SHA-512 are found under a tag with the first half of the hash", sha512(manifest)],
  ])("%s", async (_, digest) => {
    const referrer = { mediaType: types.manifest, digest: image.digest, size: manifest.length };
    const index = { schemaVersion: 2, mediaType: types.index, manifests: [referrer] };
    const tag = digest.replace(":", "-").slice(0, "sha256-".length + 64);
    let hasTag = true;
    const { source, registry } = await open((request, response) => {
      if (!hasTag || request.url?.includes(tag) !== true || request.method === "HEAD") response.writeHead(404).end();
      else json(index, { "Content-Type": types.index })(request, response);
    });
    expect(await source.listReferrers("team/app", new Set([digest]))).toEqual([referrer]);
    expect(registry.asked.slice(0, 2)).toEqual([
      `GET /v2/team/app/referrers/${digest}`,
      `GET /v2/team/app/manifests/${tag}`,
    ]);
    hasTag = false;
    expect(await source.listReferrers("team/app", new Set([digest]))).toEqual([]);
  });
});
