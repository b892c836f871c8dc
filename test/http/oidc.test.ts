/** Tokens of an OIDC issuer, which is a server of its own with keys that change. */
import { createHmac } from "node:crypto";
import type { Hono } from "hono";
import { UnsecuredJWT, exportSPKI, importJWK } from "jose";
import { beforeEach, describe, expect, it } from "vitest";
import type { AccessRules, OidcRule } from "../../src/auth/access.ts";
import type { Clock } from "../../src/clock.ts";
import { systemClock } from "../../src/clock.ts";
import { createApp } from "../../src/http/app.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { sha256 } from "../support/bytes.ts";
import { type Issuer, sendJson, startIssuer } from "../support/issuer.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { notesIn } from "../support/notes.ts";
import { openLayout } from "../support/open-layout.ts";

const minuteMs = 60_000;
const tarball = await tarOf(makeLayout({ name: "acme/app:1" }));

let issuer: Issuer;
let app: Hono;
let log: string[];
/** The clock of the service stands still, and can be set ahead. */
let startedMs: number;
let aheadMs: number;
beforeEach(async () => {
  issuer = await startIssuer();
  log = [];
  startedMs = Date.now();
  aheadMs = 0;
  app = serve();
  return async () => issuer.close().catch(() => undefined); // some tests have closed it
});

function ruleOf(rule: Partial<OidcRule> = {}): OidcRule {
  return {
    issuer: issuer.url,
    audience: "stowage",
    claims: { repository_owner: "acme" },
    actions: ["pull", "load"],
    repositories: ["${repository}", "${repository}/**"],
    ...rule,
  };
}

function serve(oidc: readonly OidcRule[] = [ruleOf()], rules: Partial<AccessRules> = {}): Hono {
  const clock: Clock = { ...systemClock, now: () => startedMs + aheadMs };
  const access = { tokens: [], anonymousPull: false, ...rules, oidc };
  return createApp({ layout: openLayout(new MemoryStore(), undefined, clock), access, report: notesIn(() => log) });
}

interface Answered {
  readonly status: number;
  readonly code: string | undefined;
  readonly message: string | undefined;
  readonly headers: Headers;
}

async function ask(token: string, path = "/v2/", init: RequestInit = {}): Promise<Answered> {
  const response = await app.request(path, { ...init, headers: { Authorization: `Bearer ${token}` } });
  const json = (await response.json()) as { errors?: [{ code: string; message: string }] };
  const [error] = json.errors ?? [];
  return { status: response.status, code: error?.code, message: error?.message, headers: response.headers };
}

async function load(token: string, name: string): Promise<Answered> {
  return ask(token, `/v1/load/${name}`, { method: "PUT", body: new Uint8Array(tarball) });
}

async function expectRefusal(token: string, message: RegExp): Promise<void> {
  const answered = await ask(token);
  expect(answered).toMatchObject({
    status: 401,
    code: "UNAUTHORIZED",
    message: expect.stringMatching(message) as string,
  });
  expect(answered.headers.get("WWW-Authenticate")).toBe('Basic realm="Stowage"');
  expect(answered.message).not.toContain(token);
  if (token.length > 100) expect(log.join("\n")).not.toContain(token.slice(-100));
}

const seconds = (): number => Math.floor(Date.now() / 1000);

describe("a token of an issuer", () => {
  it("is taken as Bearer, and as the password of any user", async () => {
    const token = await issuer.sign();
    const basic = (user: string): string => `Basic ${Buffer.from(`${user}:${token}`).toString("base64")}`;
    for (const authorization of [`Bearer ${token}`, `bearer ${token}`, basic("oidc"), basic("")]) {
      expect((await app.request("/v2/", { headers: { Authorization: authorization } })).status).toBe(200);
    }
  });

  it("gives the rights of its rule, and no others", async () => {
    const token = await issuer.sign();
    expect(await load(token, "acme/app:1")).toMatchObject({ status: 201 });
    expect(await load(token, "acme/app/tools:1")).toMatchObject({ status: 201 });
    expect(await ask(token, "/v2/acme/app/tags/list")).toMatchObject({ status: 200 });
    for (const name of ["acme/other:1", "acme/app2:1", "acme:1", "evil/app:1"]) {
      const message = expect.stringMatching(
        /^Cannot load into ".*": the token "http:\/\/127\.0\.0\.1:\d+#repo:acme/,
      ) as string;
      expect(await load(token, name)).toMatchObject({ status: 403, code: "DENIED", message });
    }
    const deletion = await ask(token, "/v2/acme/app/manifests/1", { method: "DELETE" });
    expect(deletion).toMatchObject({ status: 403, code: "DENIED" });
  });

  it("gives the rights of all rules that fit", async () => {
    app = serve([
      ruleOf({ actions: ["pull"], repositories: ["**"] }),
      ruleOf({ claims: { ref: "refs/heads/main" }, actions: ["load"], repositories: ["${repository}"] }),
      ruleOf({ claims: { ref: "refs/tags/*" }, actions: ["load", "delete"], repositories: ["**"] }),
    ]);
    const token = await issuer.sign();
    expect(await load(token, "acme/app:1")).toMatchObject({ status: 201 });
    expect(await load(token, "acme/other:1")).toMatchObject({ status: 403 });
    expect(await ask(token, "/v2/acme/other/tags/list")).toMatchObject({ status: 404 });
    expect(await ask(token, "/v2/acme/app/manifests/1", { method: "DELETE" })).toMatchObject({ status: 403 });
  });

  it("does not disturb tokens of the settings, and anonymous pulls", async () => {
    const hash = sha256(Buffer.from("a.b.c")).slice("sha256:".length);
    const token = { name: "ci", sha256: hash, actions: ["pull"], repositories: ["**"] } as const;
    app = serve([ruleOf()], { tokens: [token], anonymousPull: true });
    expect((await app.request("/v2/")).status).toBe(200);
    expect(await ask("a.b.c")).toMatchObject({ status: 200 });
    await expectRefusal("another", /^Cannot find the caller: there is no such token$/);
    expect(issuer.asked).toEqual([]);
  });

  it.each(["RS256", "PS512", "ES256", "ES384", "EdDSA"] as const)("may be signed by %s", async (alg) => {
    await issuer.rotate(alg);
    expect(await ask(await issuer.sign())).toMatchObject({ status: 200 });
  });

  it("is not needed to tell that there are no rules for it", async () => {
    app = serve([]);
    await expectRefusal(await issuer.sign(), /there is no such token; .* STOWAGE_OIDC names no issuer$/);
  });

  it("may have clocks that differ by less than a minute", async () => {
    const now = seconds();
    expect(await ask(await issuer.sign({ exp: now - 30 }))).toMatchObject({ status: 200 });
    expect(await ask(await issuer.sign({ iat: now + 30, nbf: now + 30 }))).toMatchObject({ status: 200 });
  });
});

describe("a token that is refused", () => {
  const iso = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z/.source;

  it.each<[what: string, claims: () => Readonly<Record<string, unknown>>, message: RegExp]>([
    ["expired", () => ({ exp: seconds() - 90 }), new RegExp(`^Cannot accept the token: it expired at ${iso}$`)],
    ["not valid yet", () => ({ nbf: seconds() + 3600 }), new RegExp(`: it is not valid before ${iso}$`)],
    [
      "issued in the future",
      () => ({ iat: seconds() + 3600 }),
      new RegExp(`: it was issued at ${iso}, in the future$`),
    ],
    ["for another service", () => ({ aud: "other" }), /: its claim "aud" is "\\"other\\"", expected stowage$/],
    ["for other services", () => ({ aud: ["a", "b"] }), /: its claim "aud" is .*, expected stowage$/],
    ["without an audience", () => ({ aud: undefined }), /: it has no claim "aud"$/],
    ["without an end", () => ({ exp: undefined }), /: it has no claim "exp"$/],
    ["without a subject", () => ({ sub: undefined }), /: it has no claim "sub"$/],
    ["with an empty subject", () => ({ sub: "" }), /: its claim "sub" is no text$/],
    ["with a subject that is no text", () => ({ sub: 7 }), /: its claim "sub" is no text$/],
    ["without the time of its issue", () => ({ iat: undefined }), /: it has no claim "iat"$/],
    ["with an end that is no number", () => ({ exp: "x" }), /: its claim "exp" is /],
    ["with an end beyond all time", () => ({ nbf: 1e300 }), /: it is not valid before 1e\+300$/],
    ["without an issuer", () => ({ iss: undefined }), /: no rule of STOWAGE_OIDC is for its issuer, nothing$/],
    [
      "that no rule fits",
      () => ({ repository_owner: "evil" }),
      /: no rule .* fits its claims: repository_owner is "evil"$/,
    ],
    ["without the claim", () => ({ repository_owner: undefined }), /fits its claims: repository_owner is missing$/],
  ])("because it is %s says why", async (_, claims, message) => {
    await expectRefusal(await issuer.sign(claims()), message);
  });

  it("names the audiences of all rules of the issuer", async () => {
    app = serve([
      ruleOf(),
      ruleOf({ audience: "other" }),
      ruleOf({ issuer: "https://elsewhere.example", audience: "x" }),
    ]);
    await expectRefusal(await issuer.sign({ aud: "y" }), /, expected stowage or other$/);
  });

  it("does not fit the rules of another audience", async () => {
    app = serve([ruleOf({ audience: "other" }), ruleOf({ claims: { ref: "refs/tags/*" } })]);
    await expectRefusal(await issuer.sign(), /: no rule of STOWAGE_OIDC fits its claims: ref is "refs\/heads\/main"$/);
  });

  it("was not signed by its issuer", async () => {
    const other = await startIssuer();
    const forged = await other.sign({ iss: issuer.url });
    await expectRefusal(forged, /: its signature is not that of its issuer$/);
    await other.close();
  });

  it("was changed after it was signed", async () => {
    const [header, payload = "", signature] = (await issuer.sign()).split(".");
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as object;
    const changed = Buffer.from(JSON.stringify({ ...claims, repository: "acme/other" })).toString("base64url");
    await expectRefusal([header, changed, signature].join("."), /: its signature is not that of its issuer$/);
    await expectRefusal([header, payload, ""].join("."), /: its signature is not that of its issuer$/);
  });

  it("is signed by nobody", async () => {
    const claims = { iss: issuer.url, aud: "stowage", sub: "x", repository_owner: "acme", repository: "acme/app" };
    const token = new UnsecuredJWT(claims).setIssuedAt().setExpirationTime("5m").encode();
    await expectRefusal(token, /: its header has the "alg" "none", expected RS256, .*, Ed25519$/);
  });

  it.each([
    ["the public key of the issuer as the secret", async () => exportSPKI(await publicKeyOf(issuer))],
    ["the key as it is shown as the secret", async () => JSON.stringify(issuer.keys[0])],
  ])("is signed by HS256 with %s", async (_, secretOf) => {
    const [, payload] = (await issuer.sign()).split(".");
    const header = Buffer.from(JSON.stringify({ alg: "HS256", kid: "key-1", typ: "JWT" })).toString("base64url");
    const signed = createHmac("sha256", await secretOf())
      .update(`${header}.${payload}`)
      .digest("base64url");
    await expectRefusal(`${header}.${payload}.${signed}`, /: its header has the "alg" "HS256", expected RS256, /);
  });

  it("brings its own key", async () => {
    const other = await startIssuer();
    const jwk = other.keys[0];
    const token = await other.sign({ iss: issuer.url }, { jwk, jku: `${other.url}/keys`, kid: "key-1" });
    await expectRefusal(token, /: its signature is not that of its issuer$/);
    expect(other.asked).toEqual([]);
    await other.close();
  });

  it.each([
    ["has no claims", "eyJhbGciOiJSUzI1NiJ9.e30.AA", /: no rule of STOWAGE_OIDC is for its issuer, nothing$/],
    ["is no JSON", "eyJhbGciOiJSUzI1NiJ9.AAAA.AA", /^Cannot accept the token: it cannot be read: /],
    ["is a list", "eyJhbGciOiJSUzI1NiJ9.W10.AA", /^Cannot accept the token: it cannot be read: /],
    ["has five parts", "a.b.c.d.e", /^Cannot find the caller: there is no such token$/],
  ])("%s", async (_, token, message) => {
    await expectRefusal(token, message);
  });

  it("is longer than any token", async () => {
    await expectRefusal(
      await issuer.sign({ x: "x".repeat(20_000) }),
      /: it has \d+ characters, at most 16384 are allowed$/,
    );
    expect(issuer.asked).toEqual([]);
  });
});

async function publicKeyOf({ keys: [jwk = {}] }: Issuer): Promise<CryptoKey> {
  return (await importJWK(jwk, "ES256")) as CryptoKey;
}

describe("claims in the names of repositories", () => {
  const named = (repository: unknown): Promise<string> => issuer.sign({ repository });

  it("are inserted in lower case", async () => {
    const token = await named("Acme/App");
    expect(await load(token, "acme/app:1")).toMatchObject({ status: 201 });
  });

  it("may be several, in a name with stars of the operator", async () => {
    app = serve([ruleOf({ repositories: ["ci/${repository_owner}-*/${run}/**"] })]);
    const token = await issuer.sign({ run: 17 });
    expect(await load(token, "ci/acme-x/17/app:1")).toMatchObject({ status: 201 });
    expect(await load(token, "ci/acme-x/y/17/app:1")).toMatchObject({ status: 403 });
  });

  it.each([
    ["*", /: its claim "repository" is "\*", expected a part of a repository's name$/],
    ["**", /: its claim "repository" is "\*\*", expected/],
    ["acme/*", /: its claim "repository" is "acme\/\*", expected/],
    ["..", /: its claim "repository" is "\.\.", expected/],
    ["acme/../evil", /expected a part of a repository's name$/],
    ["/acme", /expected a part of a repository's name$/],
    ["acme/", /expected a part of a repository's name$/],
    ["acme//app", /expected a part of a repository's name$/],
    ["${repository_owner}", /expected a part of a repository's name$/],
    ["a b", /expected a part of a repository's name$/],
    ["\u212Aelvin", /expected a part of a repository's name$/],
    ["ÄPP", /expected a part of a repository's name$/],
    ["a\n", /expected a part of a repository's name$/],
    ["", /: its claim "repository" is "", expected/],
    ["a".repeat(256), /expected a part of a repository's name$/],
    ["a".repeat(253), /^Cannot accept the token: its claims make the name "a+\/\*\*", which no repository can have$/],
    [undefined, /: its claim "repository" is missing, expected/],
    [null, /: its claim "repository" is null, expected/],
    [["acme/app"], /: its claim "repository" is a list of "acme\/app", expected/],
    [{ name: "acme/app" }, /: its claim "repository" is an object, expected/],
  ])("refuse the token if they are no part of a name: %j", async (value, message) => {
    await expectRefusal(await named(value), message);
  });

  it("are looked at in rules that fit alone", async () => {
    app = serve([ruleOf({ repositories: ["acme/all"] }), ruleOf({ claims: { ref: "x" } })]);
    expect(await load(await named("*"), "acme/all:1")).toMatchObject({ status: 201 });
  });
});

describe("the name of a caller", () => {
  it("is made of issuer and subject, and is in the log", async () => {
    const name = issuer.url;
    await load(await issuer.sign(), "acme/app:1");
    expect(log.at(-1)).toMatch(new RegExp(`^${name}#repo:acme/app:ref:refs/heads/main loaded acme/app:1 created`));
  });

  it.each([
    ["too long", "x".repeat(300), /^x{200}~[0-9a-f]{16}$/],
    ["with a space", "environment:Pro duction", /^environment:Pro_duction~[0-9a-f]{16}$/],
    ["with a line's end", "a\nroot loaded all", /^a_root_loaded_all~[0-9a-f]{16}$/],
    ["with a tilde, as in shortened ones", "a~0123456789abcdef", /^a_0123456789abcdef~[0-9a-f]{16}$/],
  ])("is printable, bounded and unlike any other, for a subject %s", async (_, sub, expected) => {
    await load(await issuer.sign({ sub }), "acme/app:1");
    const [, subject = ""] = /#(.*?) loaded /.exec(log.at(-1) ?? "") ?? [];
    expect(subject).toMatch(expected);
  });

  it("owns uploads: another subject does not find them", async () => {
    const body = JSON.stringify({ size: 10 });
    const begin = await app.request("/v1/uploads", {
      method: "POST",
      body,
      headers: { Authorization: `Bearer ${await issuer.sign()}` },
    });
    expect(begin.status).toBe(201);
    const path = `/v1/uploads/${((await begin.json()) as { id: string }).id}`;
    expect(await ask(await issuer.sign({ sub: "repo:acme/app:pull_request" }), path)).toMatchObject({ status: 404 });
    expect(await ask(await issuer.sign({ jti: "another token" }), path)).toMatchObject({ status: 200 });
  });
});

describe("the keys of an issuer", () => {
  const both = ["/.well-known/openid-configuration", "/keys"];
  /** Valid for hours. */
  const lasting = async (): Promise<string> => issuer.sign({ exp: seconds() + 36_000 });

  it("are read once for many requests", async () => {
    const tokens = await Promise.all(Array.from({ length: 64 }, async (_, i) => issuer.sign({ sub: `${i}` })));
    const answers = await Promise.all(tokens.map(async (token) => ask(token)));
    expect(answers.map(({ status }) => status)).toEqual(tokens.map(() => 200));
    expect(await ask(await issuer.sign())).toMatchObject({ status: 200 });
    expect(issuer.asked).toEqual(both);
  });

  it("are not asked of an issuer that no rule names", async () => {
    const other = await startIssuer();
    await expectRefusal(await other.sign(), new RegExp(`is for its issuer, "${other.url}"$`));
    await expectRefusal(await other.sign({ iss: `${issuer.url}/` }), /is for its issuer, "http:.*\/"$/);
    expect([...other.asked, ...issuer.asked]).toEqual([]);
    await other.close();
  });

  it("are read again for a new key, but not for each made-up one", async () => {
    const before = await lasting();
    expect(await ask(before)).toMatchObject({ status: 200 });
    await issuer.rotate();
    await expectRefusal(await issuer.sign(), /: its issuer has no key "key-\d" for "ES256"$/);
    expect(issuer.asked).toEqual(both); // they are half a minute old at most
    aheadMs = minuteMs;
    const tokens = await Promise.all(Array.from({ length: 8 }, async () => issuer.sign()));
    for (const { status } of await Promise.all(tokens.map(async (token) => ask(token)))) expect(status).toBe(200);
    expect(issuer.asked).toEqual([...both, ...both]);
    await expectRefusal(before, /: its issuer has no key "key-\d" for "ES256"$/);
    await expectRefusal(await issuer.sign({}, { kid: "made-up" }), /: its issuer has no key "made-up" for "ES256"$/);
    expect(issuer.asked).toEqual([...both, ...both]);
  });

  it("are read again after ten minutes, so that a withdrawn key is not accepted any more", async () => {
    const token = await lasting();
    expect(await ask(token)).toMatchObject({ status: 200 });
    await issuer.rotate();
    aheadMs = 9 * minuteMs;
    expect(await ask(token)).toMatchObject({ status: 200 });
    aheadMs = 11 * minuteMs;
    await expectRefusal(token, /: its issuer has no key "key-\d" for "ES256"$/);
  });

  it("stay in use for an hour while the issuer is away", async () => {
    const token = await lasting();
    expect(await ask(token)).toMatchObject({ status: 200 });
    await issuer.close();
    for (const minutes of [11, 30, 59]) {
      aheadMs = minutes * minuteMs;
      expect(await ask(token), `after ${minutes} minutes`).toMatchObject({ status: 200 });
    }
    expect(
      log.filter((line) => /cannot read the keys of the issuer .*; those that are known are used until /.test(line)),
    ).toHaveLength(3);
    aheadMs = 61 * minuteMs;
    const { headers, ...answered } = await ask(token);
    expect(answered).toEqual({
      status: 503,
      code: "ISSUER_UNAVAILABLE",
      message: `Cannot verify the token: the keys of its issuer ${issuer.url} cannot be read; the log of the service says why; try again later`,
    });
    expect(headers.get("Retry-After")).toBe("10");
    await issuer.open();
    aheadMs += minuteMs;
    expect(await ask(token)).toMatchObject({ status: 200 });
  });

  it("that are unknown are a 503 while the issuer is away, and not a 401", async () => {
    expect(await ask(await issuer.sign())).toMatchObject({ status: 200 });
    await issuer.rotate();
    await issuer.close();
    aheadMs = minuteMs;
    for (const _ of [1, 2])
      expect(await ask(await issuer.sign())).toMatchObject({ status: 503, code: "ISSUER_UNAVAILABLE" });
  });

  it("are read again soon after the first read has failed", async () => {
    issuer.answer = (_, response) => response.writeHead(500).end();
    expect(await ask(await issuer.sign())).toMatchObject({ status: 503, code: "ISSUER_UNAVAILABLE" });
    issuer.answer = undefined;
    expect(await ask(await issuer.sign())).toMatchObject({ status: 503 });
    expect(issuer.asked).toHaveLength(1);
    aheadMs = 6000;
    expect(await ask(await issuer.sign())).toMatchObject({ status: 200 });
  });

  it("are read again although the clock was set back", async () => {
    expect(await ask(await lasting())).toMatchObject({ status: 200 });
    await issuer.rotate();
    aheadMs = -45 * minuteMs;
    expect(await ask(await issuer.sign({ iat: seconds() - 10_000, nbf: seconds() - 10_000 }))).toMatchObject({
      status: 200,
    });
  });

  it("must be found by the kind of the key if the token names none", async () => {
    const unnamed = async (): Promise<string> => issuer.sign({}, { kid: undefined });
    expect(await ask(await unnamed())).toMatchObject({ status: 200 });
    const [old] = issuer.keys;
    await issuer.rotate();
    if (old !== undefined) issuer.keys.push(old);
    app = serve();
    await expectRefusal(await unnamed(), /: it cannot be verified: multiple matching keys/);
  });

  const keysOf = (url: string): object => ({ issuer: url, jwks_uri: `${url}/keys` });

  it.each<[what: string, answer: NonNullable<Issuer["answer"]>, reason: RegExp]>([
    [
      "an error",
      (_, response) => response.writeHead(500).end("secret"),
      /openid-configuration answered 500, expected 200/,
    ],
    ["no JSON", (_, response) => response.end("<html>"), /openid-configuration has no JSON: /],
    ["a list", (_, response) => response.end("[]"), /openid-configuration has a list, expected an object/],
    ["another issuer", (_, response) => sendJson(response, keysOf("https://evil.example")), /is of "https:\/\/evil/],
    ["no keys", (_, response) => sendJson(response, { issuer: issuer.url }), /has nothing as jwks_uri, expected/],
    [
      "keys without TLS",
      (_, r) => sendJson(r, { ...keysOf(issuer.url), jwks_uri: "http://evil.example" }),
      /as jwks_uri/,
    ],
    ["keys in a file", (_, r) => sendJson(r, { ...keysOf(issuer.url), jwks_uri: "file:///etc/passwd" }), /as jwks_uri/],
    [
      "a broken answer",
      (_, r) => void r.writeHead(200, { "Content-Length": 100 }).write("{", () => r.destroy()),
      /: the connection failed: /,
    ],
    ["no answer", (request) => request.socket.destroy(), /: the connection failed: /],
    ["no end of its answer", (_, response) => endless(response), /has more bytes/],
    [
      "a redirect",
      (_, r) => r.writeHead(302, { Location: `${issuer.url}/elsewhere` }).end(),
      /answered 302, expected 200/,
    ],
    [
      "keys that are none",
      ({ url }, r) => sendJson(r, url === "/keys" ? { keys: 1 } : keysOf(issuer.url)),
      /has 1 as its keys, expected a list/,
    ],
    [
      "keys of another kind",
      ({ url }, r) => sendJson(r, url === "/keys" ? { keys: [1] } : keysOf(issuer.url)),
      /has a list as its keys/,
    ],
    [
      "keys by a redirect",
      ({ url }, r) =>
        url === "/keys"
          ? r.writeHead(307, { Location: "/real" }).end()
          : sendJson(r, url === "/real" ? { keys: issuer.keys } : keysOf(issuer.url)),
      /keys answered 307, expected 200/,
    ],
  ])("are not read from an issuer that sends %s: 503, and the log says why", async (_, answer, reason) => {
    issuer.answer = answer;
    const answered = await ask(await issuer.sign());
    expect(answered).toMatchObject({ status: 503, code: "ISSUER_UNAVAILABLE" });
    expect(log[0]).toMatch(/^cannot read the keys of the issuer http:/);
    expect(log[0]).toMatch(reason);
    expect(answered.message).not.toMatch(reason);
  });

  it("are waited for five seconds", async () => {
    issuer.answer = () => undefined;
    expect(await ask(await issuer.sign())).toMatchObject({ status: 503, code: "ISSUER_UNAVAILABLE" });
    expect(log[0]).toMatch(/: it did not answer within 5 seconds$/);
  });

  it("are waited for five seconds if they come byte by byte", async () => {
    issuer.answer = (_, response) => {
      response.writeHead(200);
      const timer = setInterval(() => response.write(" "), 100);
      response.on("close", () => clearInterval(timer));
    };
    expect(await ask(await issuer.sign())).toMatchObject({ status: 503, code: "ISSUER_UNAVAILABLE" });
    expect(log[0]).toMatch(/: it did not answer within 5 seconds$/);
  });

  it("that are too weak are the fault of the issuer", async () => {
    await issuer.rotate("RS256");
    const [{ n = "", ...key } = {}] = issuer.keys;
    issuer.keys = [{ ...key, n: Buffer.from(n, "base64url").subarray(0, 128).toString("base64url") }];
    expect(await ask(await issuer.sign())).toMatchObject({ status: 503, code: "ISSUER_UNAVAILABLE" });
    expect(log[0]).toMatch(/^cannot use the keys of the issuer http:/);
  });

  it("are not taken from its private half", async () => {
    issuer.keys = issuer.keys.map((key) => ({ ...key, kty: "oct", k: "c2VjcmV0" }));
    await expectRefusal(await issuer.sign(), /: its issuer has no key "key-\d" for "ES256"$/);
  });
});

function endless(response: {
  write(text: string): boolean;
  on(name: string, listener: () => void): unknown;
  destroyed: boolean;
}): void {
  const text = " ".repeat(65_536);
  const more = (): void => {
    while (!response.destroyed && response.write(text));
  };
  response.on("drain", more);
  more();
}
