/** Who may use the page, and which requests its cookie is for. */
import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { makeLayout, tarOf } from "../support/layout.ts";
import {
  type SampleService,
  getPage,
  loadSamples,
  makeService,
  sampleImage,
  secrets,
  tokens,
} from "./sample-service.ts";
import { notesIn } from "../support/notes.ts";

const own = { "Sec-Fetch-Site": "same-origin" };

let service: SampleService;
let app: Hono;
let log: string[];
beforeEach(async () => {
  log = [];
  service = makeService({ access: { tokens, anonymousPull: false }, report: notesIn(() => log) });
  ({ app } = service);
  await loadSamples(service);
});

interface Sent {
  readonly form?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
}

async function post(path: string, { form = {}, headers = own }: Sent = {}): Promise<Response> {
  return getPage(app, path, { method: "POST", body: new URLSearchParams(form), headers });
}

async function logIn(token: string, form: Readonly<Record<string, string>> = {}): Promise<Response> {
  return post("/-/login", { form: { token, ...form } });
}

/** The cookie of a login, as a browser sends it. */
async function cookieOf(token: string): Promise<Readonly<Record<string, string>>> {
  const response = await logIn(token);
  expect(response.status).toBe(303);
  return { Cookie: (response.headers.get("Set-Cookie") ?? "").split(";", 1)[0] ?? "" };
}

describe("logging in", () => {
  it("is asked for where a token is needed, and leads back", async () => {
    const response = await getPage(app, "/-/repository/team/app?q=1");
    expect(response.status).toBe(303);
    expect(response.headers.has("WWW-Authenticate")).toBe(false);
    const login = response.headers.get("Location") ?? "";
    expect(login).toBe("/-/login?to=%2F-%2Frepository%2Fteam%2Fapp%3Fq%3D1");
    expect(await (await getPage(app, login)).text()).toContain('value="/-/repository/team/app?q=1"');
    const to = { to: "/-/repository/team/app?q=1" };
    expect((await logIn(secrets.reader, to)).headers.get("Location")).toBe(to.to);
  });

  it.each([
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example/",
    "/..//evil.example",
    "javascript:alert(1)",
    "",
    "\n//x",
  ])("leads to no other site: %j", async (to) => {
    const location = (await logIn(secrets.reader, { to })).headers.get("Location") ?? "";
    const { origin } = new URL(location, "http://localhost/");
    expect(origin).toBe("http://localhost");
  });

  it("sets a cookie that no script and no other site can use", async () => {
    const plain = (await logIn(secrets.reader)).headers.get("Set-Cookie");
    expect(plain).toMatch(/^stowage=[\w-]+; Max-Age=43200; Path=\/; HttpOnly; SameSite=Strict$/);
    expect(plain).not.toContain(secrets.reader);
    const headers = { ...own, "X-Forwarded-Proto": "https" };
    const secure = await post("/-/login", { form: { token: secrets.reader }, headers });
    expect(secure.headers.get("Set-Cookie")).toMatch(
      /^__Host-stowage=[\w-]+; Max-Age=43200; Path=\/; HttpOnly; Secure; SameSite=Strict$/,
    );
  });

  it.each(["wrong", "", "x".repeat(4000)])(
    "refuses a token that is not one, says so, and logs it: %.8s",
    async (token) => {
      const response = await logIn(token);
      expect(response.status).toBe(403);
      expect(response.headers.has("Set-Cookie")).toBe(false);
      expect(response.headers.has("WWW-Authenticate")).toBe(false);
      expect(await response.text()).toContain('role="alert"');
      expect(log.join("\n")).toContain("POST /-/login");
    },
  );

  it("does not log the token", async () => {
    await logIn(secrets.reader);
    await logIn("a-wrong-secret");
    expect(log.join("\n")).not.toMatch(/reader-secret|a-wrong-secret/);
  });

  it("ends with a click, which deletes the cookie", async () => {
    const cookie = await cookieOf(secrets.reader);
    expect(await (await getPage(app, "/", { headers: cookie })).text()).toContain("Log out");
    const response = await post("/-/logout", { headers: { ...own, ...cookie } });
    expect(response.status).toBe(303);
    expect(response.headers.get("Set-Cookie")).toMatch(/^stowage=; Max-Age=0; Path=\//);
  });

  it("is possible again with a cookie whose token has been taken away", async () => {
    const headers = { Cookie: "stowage=dW5rbm93bg" };
    expect((await getPage(app, "/", { headers })).headers.get("Location")).toContain("/-/login");
    expect((await getPage(app, "/-/login", { headers })).status).toBe(200);
  });
});

describe("a caller", () => {
  it("sees what its token may pull, and no more", async () => {
    const headers = await cookieOf(secrets.reader);
    const text = await (await getPage(app, "/", { headers })).text();
    expect(text).toContain("team/");
    expect(text).not.toContain("redis");
    expect(text).not.toContain("/-/upload");
    const refused = await getPage(app, "/-/repository/redis", { headers });
    expect(refused.status).toBe(403);
    expect(await refused.text()).toContain("the token &quot;reader&quot; does not allow it");
    expect(await (await getPage(app, "/-/image/team/app/1.4", { headers })).text()).not.toContain("Delete…");
    for (const path of ["/-/delete/team/app/1.4", "/-/upload"]) {
      expect((await getPage(app, path, { headers })).status).toBe(403);
    }
  });

  it("without a token sees what clients without a token may pull", async () => {
    const open = makeService({ access: { tokens, anonymousPull: true } });
    await loadSamples(open);
    const text = await (await getPage(open.app, "/")).text();
    expect(text).toContain("redis");
    expect(text).toContain("Log in");
    expect((await getPage(open.app, "/-/delete/redis/8")).headers.get("Location")).toContain("/-/login");
  });

  it("that may only load is led to the upload", async () => {
    const pusher = tokens.map((token) => ({ ...token, actions: ["load"] as const }));
    const other = makeService({ access: { tokens: pusher, anonymousPull: false } });
    const headers = { Authorization: `Bearer ${secrets.writer}` };
    expect((await getPage(other.app, "/", { headers })).headers.get("Location")).toBe("/-/upload");
  });
});

describe("the cookie", () => {
  it("counts for exports, and never for the registry", async () => {
    const headers = await cookieOf(secrets.writer);
    const exported = await app.request("/v1/export/team/app:1.4", { headers });
    expect(exported.status).toBe(200);
    expect(exported.headers.get("Cache-Control")).toBe("private");
    await exported.body?.cancel();
    expect((await app.request("/v2/", { headers })).status).toBe(401);
    expect((await app.request("/v2/team/app/manifests/1.4", { headers })).status).toBe(401);
    const deletion = { method: "DELETE", headers: { ...headers, ...own } };
    expect((await app.request("/v2/team/app/manifests/1.4", deletion)).status).toBe(401);
  });

  it.each([
    ["by the page", own, 201],
    ["by the page, without TLS", { Origin: "http://localhost" }, 201],
    ["by no page that says so", {}, 401],
    ["from the address bar", { "Sec-Fetch-Site": "none" }, 401],
    ["by a page of another host of the site", { "Sec-Fetch-Site": "same-site" }, 403],
    ["by a page of another site", { "Sec-Fetch-Site": "cross-site" }, 403],
    ["by a page of another port, without TLS", { Origin: "http://localhost:8000" }, 403],
  ])("counts for a load that is sent %s: %j is answered %i", async (_, source, status) => {
    const headers = { ...(await cookieOf(secrets.writer)), ...source };
    const body = await tarOf(makeLayout({ name: "team/new:1" }));
    expect((await app.request("/v1/load", { method: "PUT", body, headers })).status).toBe(status);
  });

  it("of a login that has ended makes no browser ask for a password, if a script of the page sends the request", async () => {
    const challengeOf = async (headers: Readonly<Record<string, string>>): Promise<string | null> => {
      const response = await app.request("/v1/load", { method: "PUT", body: "x", headers: { ...own, ...headers } });
      expect(response.status).toBe(401);
      return response.headers.get("WWW-Authenticate");
    };
    expect(await challengeOf({})).toBe('Basic realm="Stowage"');
    expect(await challengeOf({ "X-Requested-With": "XMLHttpRequest" })).toBe('Bearer realm="Stowage"');
  });

  it.each(["same-site", "cross-site"])("does not count for reading by a %s page", async (site) => {
    const headers = { ...(await cookieOf(secrets.writer)), "Sec-Fetch-Site": site };
    expect((await app.request("/v1/export/team/app:1.4", { headers })).status).toBe(401);
  });

  it("over TLS is only the one that no other host can set", async () => {
    const { Cookie = "" } = await cookieOf(secrets.reader);
    const headers = { Cookie, "X-Forwarded-Proto": "https" };
    expect((await getPage(app, "/", { headers })).status).toBe(303);
    const secure = { Cookie: `__Host-${Cookie}`, "X-Forwarded-Proto": "https" };
    expect((await getPage(app, "/", { headers: secure })).status).toBe(200);
  });

  it("gives way to a token in Authorization", async () => {
    const headers = { ...(await cookieOf(secrets.writer)), Authorization: `Bearer ${secrets.reader}` };
    expect((await app.request("/v1/export/redis:8", { headers })).status).toBe(403);
    expect(
      (await app.request("/v1/export/redis:8", { headers: { ...headers, Authorization: "Bearer x" } })).status,
    ).toBe(401);
  });
});

describe("deleting", () => {
  const path = "/-/delete/team/app/1.4";
  const digest = makeLayout(sampleImage).digest;

  async function isThere(): Promise<boolean> {
    const headers = { Authorization: `Bearer ${secrets.writer}` };
    return (await app.request("/v2/team/app/manifests/1.4", { headers })).status === 200;
  }

  it("asks first, and then deletes the tag that was seen", async () => {
    const cookie = await cookieOf(secrets.writer);
    const asked = await (await getPage(app, path, { headers: cookie })).text();
    const [, seen = ""] = /name="digest" value="([^"]+)"/.exec(asked) ?? [];
    expect(seen).toBe(digest);
    expect(await isThere()).toBe(true);
    const response = await post(path, { form: { digest: seen }, headers: { ...own, ...cookie } });
    expect(response.status).toBe(303);
    expect(await isThere()).toBe(false);
    const after = await getPage(app, response.headers.get("Location") ?? "", { headers: cookie });
    expect(await after.text()).toContain("Deleted <bdi>1.4</bdi>");
    expect(log.join("\n")).toContain(`writer deleted team/app:1.4 (${digest})`);
  });

  it("deletes nothing if the tag has moved since", async () => {
    const cookie = await cookieOf(secrets.writer);
    await service.load({ ...sampleImage, layers: [Buffer.from("another")] });
    const response = await post(path, { form: { digest }, headers: { ...own, ...cookie } });
    expect(response.status).toBe(412);
    expect(await response.text()).toContain("It has changed meanwhile");
    expect(await isThere()).toBe(true);
  });

  it.each([
    ["a page of another site", { "Sec-Fetch-Site": "cross-site" }],
    ["a page of another port", { "Sec-Fetch-Site": "same-site" }],
    ["another origin", { Origin: "https://evil.example" }],
    ["nobody who says so", {}],
  ])("is refused to %s, with the cookie and without tokens", async (_, headers) => {
    const cookie = await cookieOf(secrets.writer);
    const response = await post(path, { form: { digest }, headers: { ...headers, ...cookie } });
    expect([401, 403]).toContain(response.status);
    expect(await isThere()).toBe(true);
    const open = makeService();
    await loadSamples(open);
    const body = new URLSearchParams({ digest });
    expect((await getPage(open.app, path, { method: "POST", body, headers })).status).toBe(403);
    expect((await open.app.request("/v2/team/app/manifests/1.4")).status).toBe(200);
  });

  it("is refused without the digest", async () => {
    const cookie = await cookieOf(secrets.writer);
    expect((await post(path, { headers: { ...own, ...cookie } })).status).toBe(400);
    expect(await isThere()).toBe(true);
  });

  it("keeps tags that never move", async () => {
    const immutableTags = [{ repository: "team/**", tag: "1.*" }];
    const fixed = makeService({ immutableTags });
    await loadSamples(fixed);
    const body = new URLSearchParams({ digest });
    const response = await getPage(fixed.app, path, { method: "POST", body, headers: own });
    expect(response.status).toBe(409);
    expect(await response.text()).toContain("Not possible now");
  });
});

describe("a name that the service does not have", () => {
  it("is refused, so that no page can take the service's place", async () => {
    const local = makeService({ hosts: ["localhost"] });
    const headers = { Host: "evil.example" };
    for (const path of ["/", "/-/login", "/-/upload"]) {
      expect((await getPage(local.app, `http://localhost${path}`, { headers })).status).toBe(421);
    }
  });
});
