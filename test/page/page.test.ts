/** What the pages show, and to whom. */
import { beforeAll, describe, expect, it } from "vitest";
import { createApp, createAppWithPage } from "../../src/http/app.ts";
import { systemClock } from "../../src/clock.ts";
import { updateRepository } from "../../src/layout/update-repository.ts";
import type { SetChange } from "../../src/oci/index-change.ts";
import { pageOf } from "../../src/page/page.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { decorate } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";
import {
  type SampleService,
  getPage,
  hostile,
  loadMany,
  loadSamples,
  makeService,
  sampleImage,
  tokens,
} from "./sample-service.ts";

const image = makeLayout(sampleImage);

let service: SampleService;
beforeAll(async () => {
  service = makeService();
  await loadSamples(service);
});

/** Without the places at which a long name may break. */
async function textOf(path: string, { app } = service): Promise<string> {
  const response = await getPage(app, path);
  expect(response.status).toBe(200);
  return (await response.text()).replaceAll("<wbr/>", "");
}

describe("the page at /", () => {
  it("is for browsers only", async () => {
    for (const headers of [{}, { Accept: "*/*" }, { Accept: "application/json" }]) {
      const response = await service.app.request("/", { headers });
      expect(response.status).toBe(404);
      expect(await response.json()).toMatchObject({ errors: [{ code: "UNSUPPORTED" }] });
    }
    expect((await getPage(service.app, "/", { method: "POST" })).status).toBe(404);
  });

  it("is not there without the option", async () => {
    const app = createApp({ layout: openLayout(new MemoryStore()), access: "anyone" });
    for (const path of ["/", "/-/upload", "/-/assets/page.js"]) {
      expect((await getPage(app, path)).status).toBe(404);
    }
  });

  it("lists repositories with their tags and links to them", async () => {
    const text = await textOf("/");
    expect(text).toMatch(/href="\/-\/repository\/team\/app"><span class="path">team\/<\/span>app/);
    expect(text).toContain("3 tags");
    expect(text).toContain('href="/-/repository/redis"');
  });

  it("finds repositories by a part of the name", async () => {
    const text = await textOf("/?q=HOST");
    expect(text).toContain("/-/repository/team/hostile");
    expect(text).not.toContain("/-/repository/team/app");
    expect(await textOf("/?q=nothing%3Cb%3E")).toContain("No repository has “nothing&lt;b&gt;” in its name.");
  });

  it("says how to begin when there is nothing", async () => {
    expect(await textOf("/", makeService())).toContain("docker save team/app:1.4 | curl -T - http://localhost/v1/load");
  });

  it("lists a damaged repository too", async () => {
    const damaged = makeService();
    await damaged.load(sampleImage);
    await damaged.store.put("repositories/team/broken/_layout/index.json", Buffer.from("{".padEnd(2000)));
    const text = await textOf("/", damaged);
    expect(text).toContain("/-/repository/team/broken");
    expect(text).toContain("/-/repository/team/app");
  });

  it("goes through 130 repositories by its links", async () => {
    const many = makeService();
    await loadMany(many, 130);
    const names: string[] = [];
    for (let path: string | undefined = "/"; path !== undefined;) {
      const text = await textOf(path, many);
      const found = [...text.matchAll(/href="\/-\/repository\/([^"]+)"/g)].map(([, name = ""]) => name);
      expect(found.length).toBeLessThanOrEqual(50);
      names.push(...found);
      const [, next] = /<a href="([^"]+)">Next page/.exec(text) ?? [];
      path = next?.replaceAll("&amp;", "&");
    }
    expect(names).toHaveLength(130);
    expect(names).toEqual([...new Set(names)].toSorted());
  });

  it("does not read a large index to show its repository", async () => {
    const store = new MemoryStore();
    const large = "repositories/team/large/_layout/index.json";
    await store.put(large, Buffer.alloc(300_000, " "));
    const read: string[] = [];
    const watched = decorate(store, {
      get: async (key, options) => {
        read.push(key);
        return store.get(key, options);
      },
    });
    const app = createAppWithPage({ layout: openLayout(watched), access: "anyone" }, pageOf);
    expect(await (await getPage(app, "/")).text()).toContain("many images");
    expect(read).not.toContain(large);
  });

  it("has links that work below a path", async () => {
    const { Hono } = await import("hono");
    const outer = new Hono().route("/images", service.app);
    const text = await (await getPage(outer, "/images")).text();
    expect(text).toContain('href="/images/-/repository/team/app"');
    const [, style = ""] = /<link rel="stylesheet" href="([^"]+)"/.exec(text) ?? [];
    expect((await outer.request(style)).headers.get("Content-Type")).toContain("text/css");
    expect(await (await getPage(outer, "/images/-/repository/team/app")).text()).toContain(
      "/images/-/image/team/app/1.4",
    );
  });
});

describe("the page of a repository", () => {
  it("has platforms, sizes and dates of its images, the latest first", async () => {
    const text = await textOf("/-/repository/team/app");
    const tags = [...text.matchAll(/href="\/-\/image\/team\/app\/([^"]+)"/g)].map(([, tag = ""]) => tag);
    expect(tags.toSorted()).toEqual(["1.3", "1.4", "latest"]);
    for (const platform of ["linux/amd64", "linux/arm64/v8", "linux/arm/v7"]) expect(text).toContain(platform);
    expect(text).toContain("784 KiB");
    expect(text).toMatch(/<time datetime="\d{4}-/);
  });

  it("lists 25 of many tags a page, and finds others by a search", async () => {
    const many = makeService();
    for (let i = 0; i < 60; i += 1) await many.load({ name: `team/app:1.${i}` });
    const count = (text: string): number => text.split('class="name"').length - 1;
    const first = await textOf("/-/repository/team/app", many);
    expect(first).toContain("60 tags");
    expect(count(first)).toBe(25);
    expect(first).toContain('href="/-/repository/team/app?from=25"');
    expect(count(await textOf("/-/repository/team/app?from=50", many))).toBe(10);
    const found = await textOf("/-/repository/team/app?q=1.59", many);
    expect(count(found)).toBe(1);
    expect(found).toContain('href="/-/image/team/app/1.59"');
  });

  it("shows 25 of 12,345 tags, and reads no more manifests than these have", async () => {
    const store = new MemoryStore();
    const blobs: string[] = [];
    const watched = decorate(store, {
      get: async (key, options) => {
        if (key.startsWith("blobs/")) blobs.push(key);
        return store.get(key, options);
      },
    });
    const layout = openLayout(watched);
    const app = createAppWithPage({ layout, access: "anyone" }, pageOf);
    await app.request("/v1/load", { method: "PUT", body: await tarOf(image) });
    const { mediaType, size } = image.roots[0] ?? { mediaType: "", size: 0 };
    const tags = Array.from({ length: 12_345 }, (_, i) => `v${i}`);
    const changes = tags.map((tag): SetChange => ({ op: "set", tag, mediaType, digest: image.digest, size }));
    await updateRepository(layout, { repository: "team/app", changes });
    blobs.length = 0;
    const text = await (await getPage(app, "/-/repository/team/app?from=12000")).text();
    expect(text).toContain("12346 tags");
    expect(text.split('class="name"').length - 1).toBe(25);
    expect(text.length).toBeLessThan(20_000);
    expect(blobs.length).toBeLessThanOrEqual(50);
    expect(await (await getPage(app, "/-/image/team/app/v7")).text()).toContain("Also tagged");
  });

  it("has no signatures among the images", async () => {
    expect(await textOf("/-/repository/team/app")).not.toMatch(/image\/team\/app\/sha256/);
  });
});

describe("the page of an image", () => {
  it("shows digest, layers with their commands, config, annotations and pull commands", async () => {
    const text = await textOf("/-/image/team/app/1.4");
    expect(text).toContain(image.digest);
    for (const command of ["docker pull", "podman pull", "crane pull"]) {
      expect(text).toContain(`${command} localhost/team/app:1.4`);
    }
    expect(text).toContain("COPY --chown=10001:10001 dist /app");
    expect(text).toContain("NODE_ENV");
    expect(text).toContain("/app/server");
    expect(text).toContain("The app of the team");
    expect(text).toContain('href="/v1/export/team/app:1.4"');
  });

  it("shows signatures, and leads to them", async () => {
    const text = await textOf("/-/image/team/app/1.4");
    const [, link = ""] = /href="(\/-\/image\/team\/app\/sha256:[^"]+)"><bdi>Signature of Cosign/.exec(text) ?? [];
    expect(await textOf(link)).toContain("Refers to");
  });

  it("has commands for an artifact that Docker cannot pull", async () => {
    const charts = makeService();
    await charts.load({ name: "charts/app:1", manifest: { artifactType: "application/vnd.cncf.helm.config.v1+json" } });
    const text = await textOf("/-/image/charts/app/1", charts);
    expect(text).toContain("oras pull localhost/charts/app:1");
    expect(text).not.toContain("docker pull");
  });

  it("shows signatures that Cosign keeps under a tag", async () => {
    const tag = image.digest.replace(":", "-");
    const signing = makeService();
    await signing.load(sampleImage);
    await signing.load({ name: `team/app:${tag}.sig`, layers: [Buffer.from("signed")] });
    const text = await textOf("/-/image/team/app/1.4", signing);
    expect(text).toContain(`href="/-/image/team/app/${tag}.sig"><bdi>Signature of Cosign`);
    expect(await textOf("/-/repository/team/app", signing)).not.toContain(".sig");
  });

  it("shows each platform with its own size and download", async () => {
    const text = await textOf("/-/image/team/app/latest");
    expect(text).toContain("Platforms <small>3</small>");
    const [, download = ""] = /href="([^"]+\?platform=linux%2Farm64%2Fv8)"/.exec(text) ?? [];
    const response = await service.app.request(download.replaceAll("&amp;", "&"));
    expect(response.status).toBe(200);
    expect(response.headers.get("Content-Type")).toBe("application/x-tar");
  });

  it("shows an image by its digest", async () => {
    expect(await textOf(`/-/image/team/app/${image.digest}`)).toContain(`team/app@${image.digest}`);
  });

  it("escapes what an image says, and shows what is invisible", async () => {
    const text = await textOf("/-/image/team/hostile/1");
    expect(text).not.toContain("<script>alert");
    expect(text).not.toContain("\u202e");
    expect(text).toContain("&lt;script&gt;alert(1)&lt;/script&gt;&quot;");
    expect(hostile).toContain("\u202e");
  });

  it("cuts long lists and long texts", async () => {
    const large = makeService();
    const annotations = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`key-${i}`, "x".repeat(5000)]));
    await large.load({ name: "team/large:1", manifest: { annotations } });
    const text = await textOf("/-/image/team/large/1", large);
    expect(text.length).toBeLessThan(300_000);
    expect(text).toContain("And 400 more entries.");
  });
});

describe("the end of an image", () => {
  it.each([
    ["that is to come", 47.5 * 3600, "ends in 1 day", "<dt>Ends</dt>"],
    ["that is months away", 100 * 24 * 3600, "ends 10 Mar 2027", "<dt>Ends</dt>"],
    ["that has passed", -3600, "ended 1 hour ago", "<dt>Ended: gc drops it</dt>"],
  ])("%s is on the page of its repository and on its own", async (_, seconds, inList, ofImage) => {
    const clock = { ...systemClock, now: () => Date.parse("2026-11-30T12:00:00Z") };
    const layout = openLayout(new MemoryStore(), undefined, clock);
    const app = createAppWithPage({ layout, access: "anyone" }, pageOf);
    const { mediaType, size } = image.roots[0] ?? { mediaType: "", size: 0 };
    await app.request("/v1/load", { method: "PUT", body: await tarOf(image) });
    const expires = new Date(clock.now() + seconds * 1000).toISOString();
    const change: SetChange = { op: "set", tag: "42", mediaType, digest: image.digest, size, expires };
    await updateRepository(layout, { repository: "team/app", changes: [change] });
    const list = await (await getPage(app, "/-/repository/team/app")).text();
    expect(list.replaceAll(/<[^>]*>/g, "")).toContain(`42 ${inList}`);
    expect(await (await getPage(app, "/-/image/team/app/42")).text()).toContain(ofImage);
    expect(await (await getPage(app, "/-/image/team/app/1.4")).text()).not.toContain("<dt>End");
  });
});

describe("an error of the page", () => {
  it.each([
    ["/-/repository/none", 404, "Cannot find repository &quot;none&quot;"],
    ["/-/image/team/app/none", 404, "Cannot find manifest"],
    ["/-/repository/Wrong%20Name", 400, "Cannot use"],
    ["/-/repository/team/app?from=x", 400, "expected a whole number"],
    ["/-/nowhere", 404, "there is no such route"],
    ["/?unknown=1", 400, "Cannot use the query parameter"],
  ])("is a page too: %s", async (path, status, message) => {
    const response = await getPage(service.app, path);
    expect(response.status).toBe(status);
    expect(response.headers.get("Content-Type")).toContain("text/html");
    expect(response.headers.get("Content-Security-Policy")).toContain("default-src 'none'");
    const text = await response.text();
    expect(text).toContain(message);
    expect(text).toContain(`Request <code>${response.headers.get("X-Request-Id")}</code>`);
  });

  it("says nothing about the store to a caller without a token", async () => {
    const store = decorate(new MemoryStore(), {
      list: () => {
        throw new Error("the secret bucket");
      },
      head: () => Promise.reject(new Error("the secret bucket")),
    });
    const access = { tokens, anonymousPull: true };
    const app = createAppWithPage({ layout: openLayout(store), access }, pageOf);
    const response = await getPage(app, "/");
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("secret");
  });
});

describe("a blob", () => {
  it("is never a page or a script to a browser", async () => {
    const response = await getPage(service.app, `/v2/team/app/blobs/${image.layers[0]}`);
    expect(response.headers.get("Content-Type")).toBe("application/octet-stream");
    expect(response.headers.get("X-Content-Type-Options")).toBe("nosniff");
  });
});

describe("every page", () => {
  it.each(["/", "/-/repository/team/app", "/-/image/team/app/1.4", "/-/upload", "/-/login", "/-/delete/team/app/1.4"])(
    "allows nothing inline and nothing of others: %s",
    async (path) => {
      const response = await getPage(service.app, path);
      expect(response.status).toBe(200);
      expect(response.headers.get("Content-Security-Policy")).toBe(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
          "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
      );
      expect(response.headers.get("X-Content-Type-Options")).toBe("nosniff");
      expect(response.headers.get("Referrer-Policy")).toBe("same-origin");
      expect(response.headers.get("Cache-Control")).toBe("no-store");
      const text = await response.text();
      expect(text).not.toMatch(/<style|<script(?! src=)| style=| on\w+=|javascript:/);
      for (const [, url = ""] of text.matchAll(/(?:src|href|action)="([^"]*)"/g)) expect(url).toMatch(/^[/#]/);
    },
  );

  it("lets scripts send parts to the bucket, on the upload page of a platform that needs it", async () => {
    const presigner = { presignPut: async () => "https://bucket.example/part?signature=1" };
    const store = decorate(new MemoryStore(), { presigner } as never);
    const limited = { layout: openLayout(store), access: "anyone", maxRequestBytes: 1000 } as const;
    const app = createAppWithPage(limited, pageOf);
    const policyOf = async (path: string): Promise<string | null> =>
      (await getPage(app, path)).headers.get("Content-Security-Policy");
    expect(await policyOf("/-/upload")).toContain("connect-src 'self' https://bucket.example;");
    expect(await policyOf("/")).toContain("connect-src 'self';");
  });

  it("has assets that browsers may keep", async () => {
    const text = await textOf("/");
    const urls = [...text.matchAll(/(?:src|href)="(\/-\/assets\/[^"]+)"/g)].map(([, url = ""]) => url);
    expect(new Set(urls).size).toBe(3);
    for (const url of urls) {
      const response = await service.app.request(url);
      expect(response.status).toBe(200);
      expect(response.headers.get("Cache-Control")).toContain("immutable");
      expect(response.headers.get("X-Content-Type-Options")).toBe("nosniff");
    }
  });
});
