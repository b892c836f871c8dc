/** The page in a headless Chromium, on a store with 1,000 repositories. */
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo, Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAdaptorServer } from "@hono/node-server";
import axe from "axe-core";
import { type Browser, type BrowserContextOptions, type Page, chromium } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import { randomBytes, readAll } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { findTool, missingTools } from "../tools/find-tool.ts";
import {
  type SampleOptions,
  type SampleService,
  loadMany,
  loadSamples,
  makeService,
  sampleImage,
  secrets,
  tokens,
} from "./sample-service.ts";

const repositories = 1000;
const partBytes = 300_000;

/** By this name the browser takes the service for one on the network: it then sends no `Sec-Fetch-Site` without TLS. */
const plainHost = "stowage.example";

vi.setConfig({ testTimeout: 120_000 }); // a busy machine starts browsers slowly

describeIfFound("the page in a browser", missingTools(["chromium"]), () => {
  let browser: Browser;
  let folder = "";
  let open: Served;
  let closed: Served;
  let limited: Served;
  let closedLimited: Served;
  const ends: (() => unknown)[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "stowage-page-"));
    // Root may not use Chromium's sandbox, and only this service's pages are opened.
    browser = await chromium.launch({
      executablePath: findTool("chromium") ?? "",
      args: ["--no-sandbox", `--host-resolver-rules=MAP ${plainHost} 127.0.0.1`],
    });
    open = await serve();
    await loadMany(open.service, repositories);
    closed = await serve({ access: { tokens, anonymousPull: true } });
    limited = await serve({ maxRequestBytes: partBytes });
    closedLimited = await serve({ access: { tokens, anonymousPull: true }, maxRequestBytes: partBytes });
  }, 120_000);
  afterAll(async () => {
    await browser.close();
    for (const { server } of [open, closed, limited, closedLimited]) server.close();
    await rm(folder, { recursive: true });
  });
  afterEach(async () => {
    for (const end of ends.splice(0)) await end();
  });

  /** A page whose problems fail the test: errors of scripts, and what the Content-Security-Policy stops. */
  async function newPage(options: BrowserContextOptions = {}): Promise<{ page: Page; problems: string[] }> {
    const context = await browser.newContext(options);
    ends.push(async () => context.close());
    const page = await context.newPage();
    const problems: string[] = [];
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error" && !message.text().includes("the server responded with a status of")) {
        problems.push(message.text());
      }
    });
    page.on("dialog", (dialog) => {
      problems.push(`a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    return { page, problems };
  }

  async function logIn(page: Page, url: string, token: string): Promise<void> {
    await page.goto(`${url}/-/login`);
    await page.getByLabel("Token").fill(token);
    await page.getByRole("main").getByRole("button", { name: "Log in" }).click();
    await page.waitForURL(`${url}/`);
  }

  const digest = makeLayout(sampleImage).digest;
  const kinds = [
    ["the repositories", "/"],
    ["a search without a result", "/?q=nothing-has-this"],
    ["a repository", "/-/repository/team/app"],
    ["an image", "/-/image/team/app/1.4"],
    ["an image for several platforms", "/-/image/team/app/latest"],
    ["an image by its digest", `/-/image/team/app/${digest}`],
    ["a hostile image", "/-/image/team/hostile/1"],
    ["the upload", "/-/upload"],
    ["the question before a deletion", "/-/delete/team/app/1.4"],
    ["the login", "/-/login"],
    ["an error", "/-/repository/none"],
  ] as const;

  it.each(kinds)("has no finding of axe, and fits, large and light, small and dark: %s", async (_, path) => {
    for (const [colorScheme, width] of [
      ["light", 1440],
      ["dark", 360],
    ] as const) {
      const { page, problems } = await newPage({ colorScheme, viewport: { width, height: 800 } });
      await page.goto(open.url + path);
      expect(await findingsOf(page)).toEqual([]);
      expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(width);
      expect(problems).toEqual([]);
    }
  });

  it("leads from a search among 1,000 repositories to an image, by keyboard alone", async () => {
    const { page, problems } = await newPage();
    await page.goto(`${open.url}/`);
    await page.keyboard.press("Tab");
    expect(await page.evaluate("document.activeElement.textContent.trim()")).toBe("Skip to the content");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.type("repository-0777");
    await page.keyboard.press("Enter");
    await page.waitForURL(/q=repository-0777/);
    await page.getByRole("link", { name: "many/repository-0777" }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "many/repository-0777" }).waitFor();
    await page.getByRole("link", { name: "1", exact: true }).focus();
    await page.keyboard.press("Enter");
    await page.getByText("docker pull").waitFor();
    expect(problems).toEqual([]);
  });

  it("goes to the last of 1,000 repositories, page by page", async () => {
    const { page } = await newPage();
    await page.goto(`${open.url}/`);
    for (let pages = 1; pages < repositories / 50; pages += 1) {
      await page.getByRole("link", { name: "Next page" }).click();
    }
    await page.getByRole("link", { name: "many/repository-0999" }).waitFor();
  });

  it("copies a command with a click", async () => {
    const { page, problems } = await newPage({ permissions: ["clipboard-read", "clipboard-write"] });
    await page.goto(`${open.url}/-/image/team/app/1.4`);
    await page.getByRole("button", { name: "Copy the command for Docker" }).click();
    const copied = async (): Promise<unknown> => page.evaluate("navigator.clipboard.readText()");
    await expect.poll(copied, { timeout: 60_000 }).toBe(`docker pull ${new URL(open.url).host}/team/app:1.4`);
    expect(problems).toEqual([]);
  });

  it("downloads an image as a tarball", async () => {
    const { page } = await newPage();
    await page.goto(`${open.url}/-/image/team/app/1.4`);
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("link", { name: "Download tarball" }).click(),
    ]);
    expect(download.suggestedFilename()).toBe("app-1.4.tar");
    expect(await download.failure()).toBeNull();
  });

  /** A tarball as a file that the browser can choose. */
  async function fileOf(name: string, bytes: number): Promise<string> {
    const path = join(folder, `${name.replaceAll(/\W/g, "-")}.tar`);
    await writeFile(path, await tarOf(makeLayout({ name, layers: [randomBytes(bytes)] })));
    return path;
  }

  it.each([
    ["in one request", () => open, /^PUT \/v1\/load$/, 1],
    ["in parts, where the platform limits a request", () => limited, /^PUT \/v1\/uploads\/[^/]+\/parts\/\d$/, 4],
  ])("uploads a tarball %s, and shows how far it is, and the receipt", async (_, served, pattern, count) => {
    const { page, problems } = await newPage();
    const requests: string[] = [];
    page.on("request", (request) => requests.push(`${request.method()} ${new URL(request.url()).pathname}`));
    await page.goto(`${served().url}/-/upload`);
    await recordProgress(page);
    await page.getByLabel("Tarball", { exact: true }).setInputFiles(await fileOf("team/uploaded:1", 1_000_000));
    await page.getByRole("main").getByRole("button", { name: "Upload" }).click();
    await page.getByRole("heading", { name: "One image is published" }).waitFor();
    const values = await page.evaluate<number[]>("window.progressValues");
    expect(values.at(0)).toBe(0);
    expect(values.at(-1)).toBe(1);
    expect(values).toEqual(values.toSorted((a, b) => a - b));
    expect(requests.filter((request) => pattern.test(request))).toHaveLength(count);
    expect(await findingsOf(page)).toEqual([]);
    await page.getByRole("link", { name: "team/uploaded:1" }).click();
    await page.getByText("docker pull").waitFor();
    expect(problems).toEqual([]);
  });

  it("sends parts to a bucket of another origin, whose CORS rule is the one of the page's document", async () => {
    const text = await readFile(new URL("../../docs/page.md", import.meta.url), "utf8");
    const [, json = ""] = /```json\n(\{\s*"CORSRules".*?)```/s.exec(text) ?? [];
    const [rule] = (JSON.parse(json) as { CORSRules: Record<string, string[]>[] }).CORSRules;
    let served: Served | undefined;
    let parts = 0;
    const bucket = createServer((request, response) => {
      const { method, headers, url = "" } = request;
      const asked = headers["access-control-request-headers"] ?? "content-type";
      const isAllowed =
        headers.origin === served?.url &&
        rule?.["AllowedMethods"]?.includes(headers["access-control-request-method"] ?? method ?? "") === true &&
        asked.split(",").every((header) => rule["AllowedHeaders"]?.includes(header));
      if (!isAllowed) return response.writeHead(403).end();
      response.setHeader("Access-Control-Allow-Origin", headers.origin ?? "");
      response.setHeader("Access-Control-Allow-Methods", rule["AllowedMethods"] ?? []);
      response.setHeader("Access-Control-Allow-Headers", asked);
      if (method === "OPTIONS") return response.end();
      parts += 1;
      return void readAll(request).then(async (bytes) => {
        await served?.service.store.put(url.slice(1), bytes);
        response.end();
      });
    });
    const bucketUrl = await listen(bucket);
    ends.push(() => bucket.close());
    const urlOf = async (key: string): Promise<string> => Promise.resolve(`${bucketUrl}/${key}`);
    served = await serve({ maxRequestBytes: partBytes, presigner: { presignGet: urlOf, presignPut: urlOf } });
    ends.push(() => served?.server.close());
    const { page, problems } = await newPage();
    await page.goto(`${served.url}/-/upload`);
    await page.getByLabel("Tarball", { exact: true }).setInputFiles(await fileOf("team/bucket:1", 1_000_000));
    await page.getByRole("main").getByRole("button", { name: "Upload" }).click();
    await page.getByRole("heading", { name: "One image is published" }).waitFor();
    expect(parts).toBe(1);
    expect(problems).toEqual([]);
  });

  it("sends a part again that broke off, and goes on with the parts of an upload that was cancelled", async () => {
    const { page } = await newPage();
    const file = await fileOf("team/resumed:1", 1_000_000);
    const start = async (): Promise<void> => {
      await page.goto(`${limited.url}/-/upload`);
      await page.getByLabel("Tarball", { exact: true }).setInputFiles(file);
      await page.getByRole("main").getByRole("button", { name: "Upload" }).click();
    };
    const arrived: string[] = [];
    page.on("response", (response) => response.ok() && arrived.push(new URL(response.url()).pathname));
    await page.route(/\/parts\/4/, () => undefined); // is never answered
    await start();
    const partsOf = (paths: readonly string[]): string[] =>
      paths.flatMap((path) => /\/parts\/(\d)$/.exec(path)?.[1] ?? []).toSorted();
    await expect.poll(() => partsOf(arrived), { timeout: 60_000 }).toEqual(["1", "2", "3"]);
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByText("The upload was cancelled").waitFor();
    await page.unroute(/\/parts\/4/);
    await page.route(/\/parts\/4/, async (route) => route.abort(), { times: 1 });
    await start();
    await page.getByRole("heading", { name: "One image is published" }).waitFor();
    expect(partsOf(arrived)).toEqual(["1", "2", "3", "4"]);
  });

  it("takes a tarball that is dropped, under another name", async () => {
    const { page } = await newPage();
    await page.goto(`${open.url}/-/upload`);
    const bytes = (await tarOf(makeLayout({ name: "team/dropped:1" }))).toString("base64");
    await page.evaluate(`{
      const data = new DataTransfer();
      const bytes = Uint8Array.from(atob("${bytes}"), (character) => character.charCodeAt(0));
      data.items.add(new File([bytes], "dropped.tar"));
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    }`);
    await page.getByLabel("Name").fill("team/other:2");
    await page.getByRole("main").getByRole("button", { name: "Upload" }).click();
    await page.getByRole("link", { name: "team/other:2" }).waitFor();
  });

  it.each([
    ["in one request", () => open, 100_000],
    ["in parts", () => limited, 2 * partBytes],
  ])("says why a tarball is refused, sent %s", async (_, served, bytes) => {
    const { page } = await newPage();
    await page.goto(`${served().url}/-/upload`);
    const path = join(folder, "wrong.tar");
    await writeFile(path, Buffer.alloc(bytes, "not a tarball"));
    await page.getByLabel("Tarball", { exact: true }).setInputFiles(path);
    await page.getByRole("main").getByRole("button", { name: "Upload" }).click();
    await page.getByRole("status").getByText("Cannot").waitFor();
    expect(await findingsOf(page)).toEqual([]);
    expect(await page.getByRole("main").getByRole("button", { name: "Upload" }).isEnabled()).toBe(true);
  });

  it("shows, logs in and deletes without scripts", async () => {
    await closed.service.load({ ...sampleImage, name: "team/short:1" });
    const { page } = await newPage({ javaScriptEnabled: false });
    await page.goto(`${closed.url}/-/delete/team/short/1`);
    await page.getByLabel("Token").fill("wrong");
    await page.getByRole("main").getByRole("button", { name: "Log in" }).click();
    await page.getByRole("alert").waitFor();
    await page.getByLabel("Token").fill(secrets.writer);
    await page.getByRole("main").getByRole("button", { name: "Log in" }).click();
    await page.getByRole("heading", { name: "Delete this tag?" }).waitFor();
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByText("Deleted 1.").waitFor();
    await page.goto(`${closed.url}/-/upload`);
    await page.getByText("needs scripts").waitFor();
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByRole("link", { name: "Log in" }).waitFor();
  });

  it("uploads and downloads with the token of the login, which no script can read", async () => {
    const { page } = await newPage();
    await logIn(page, closed.url, secrets.writer);
    expect(await page.evaluate("document.cookie")).toBe("");
    await page.goto(`${closed.url}/-/upload`);
    await page.getByLabel("Tarball", { exact: true }).setInputFiles(await fileOf("private/app:1", 1000));
    await page.getByRole("main").getByRole("button", { name: "Upload" }).click();
    await page.getByRole("link", { name: "private/app:1" }).click();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("link", { name: "Download tarball" }).click(),
    ]);
    expect(await download.failure()).toBeNull();
  });

  it.each([
    ["in one request", () => closed],
    ["in parts", () => closedLimited],
  ])(
    "keeps the file of an upload %s whose login has ended, until the person has logged in again",
    async (_, served) => {
      const { page, problems } = await newPage();
      const { url } = served();
      await logIn(page, url, secrets.writer);
      await page.goto(`${url}/-/upload`);
      await page.getByLabel("Tarball", { exact: true }).setInputFiles(await fileOf("late/app:1", 2 * partBytes));
      await page.context().clearCookies();
      await page.getByRole("main").getByRole("button", { name: "Upload" }).click();
      await page.getByText("Your login has ended").waitFor();
      expect(await findingsOf(page)).toEqual([]);
      const [other] = await Promise.all([
        page.waitForEvent("popup"),
        page.getByRole("link", { name: "Log in again in a new tab" }).click(),
      ]);
      await other.getByLabel("Token").fill(secrets.writer);
      await other.getByRole("main").getByRole("button", { name: "Log in" }).click();
      await other.getByRole("button", { name: "Log out" }).waitFor();
      await page.getByRole("main").getByRole("button", { name: "Upload" }).click();
      await page.getByRole("link", { name: "late/app:1" }).waitFor();
      expect(problems).toEqual([]);
    },
  );

  it("logs in, uploads and deletes without TLS, where browsers say less about the sender", async () => {
    const { page, problems } = await newPage();
    const sent: Record<string, string>[] = [];
    page.on("request", (request) => request.method() !== "GET" && sent.push(request.headers()));
    const url = closed.url.replace("127.0.0.1", plainHost);
    await logIn(page, url, secrets.writer);
    await page.goto(`${url}/-/upload`);
    await page.getByLabel("Tarball", { exact: true }).setInputFiles(await fileOf("plain/app:1", 1000));
    await page.getByRole("main").getByRole("button", { name: "Upload" }).click();
    await page.getByRole("link", { name: "plain/app:1" }).click();
    await page.getByRole("link", { name: "Delete…" }).click();
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByText("Deleted 1.").waitFor();
    expect(sent).toHaveLength(3);
    for (const headers of sent) expect(headers).not.toHaveProperty("sec-fetch-site");
    expect(problems).toEqual([]);
  });

  it("deletes nothing for a page of another port, although the browser has the cookie", async () => {
    const { page } = await newPage();
    await logIn(page, closed.url, secrets.writer);
    const target = `${closed.url}/-/delete/team/app/1.4`;
    const other = createServer((_, response) => {
      response.setHeader("Content-Type", "text/html");
      response.end(
        `<form method="post" action="${target}"><input name="digest" value="${digest}"><button>Win</button></form>`,
      );
    });
    const url = await listen(other);
    ends.push(() => other.close());
    await page.goto(url);
    const [response] = await Promise.all([
      page.waitForResponse(target),
      page.getByRole("button", { name: "Win" }).click(),
    ]);
    expect(response.status()).toBe(403);
    expect((await page.goto(`${closed.url}/-/image/team/app/1.4`))?.status()).toBe(200);
  });
});

interface Served {
  readonly service: SampleService;
  readonly server: Server;
  readonly url: string;
}

async function serve(options: SampleOptions = {}): Promise<Served> {
  const service = makeService(options);
  await loadSamples(service);
  const server = createAdaptorServer({ fetch: service.app.fetch }) as Server;
  return { service, server, url: await listen(server) };
}

async function listen(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** What axe finds on the page as it is now. */
async function findingsOf(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate<axe.AxeResults>("axe.run()");
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" | ")}`);
}

/** Notes each value of the bar: a small file is sent faster than a test can look. */
async function recordProgress(page: Page): Promise<void> {
  await page.evaluate(`{
    window.progressValues = [];
    const { get, set } = Object.getOwnPropertyDescriptor(HTMLProgressElement.prototype, "value");
    Object.defineProperty(document.getElementById("progress"), "value", {
      get,
      set(value) {
        window.progressValues.push(value);
        set.call(this, value);
      },
    });
  }`);
}
