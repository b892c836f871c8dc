import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ServingCommand, newFolder, serveStowage } from "../support/run-stowage.ts";
import { randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";

const layer = randomBytes(200_000);
const layout = makeLayout({ layers: [layer], name: "team/app:1.4" });
const tarball = await tarOf(layout);

const token = (name: string, actions: readonly string[], repositories: readonly string[] = ["**"]): object => ({
  name,
  sha256: createHash("sha256").update(`${name}-secret`).digest("hex"),
  actions,
  repositories,
});
const STOWAGE_TOKENS = JSON.stringify([
  token("ci", ["load", "pull"], ["team/**"]),
  token("prometheus", ["metrics"], ["nothing"]),
]);

const running: ServingCommand[] = [];
afterEach(async () => {
  for (const service of running.splice(0)) {
    service.kill("SIGTERM");
    await service.outcome;
  }
});

async function serve(
  settings: Readonly<Record<string, string>>,
): Promise<(path: string, init?: Init) => Promise<Answer>> {
  const service = await serveStowage(["--store", `file:${await newFolder()}`], settings);
  running.push(service);
  return async (path, { name, ...init } = {}) => {
    const headers = { ...(name !== undefined && { Authorization: `Bearer ${name}-secret` }) };
    const response = await fetch(service.url + path, { ...init, headers });
    return { status: response.status, type: response.headers.get("Content-Type"), text: await response.text() };
  };
}

interface Init {
  readonly name?: string;
  readonly method?: string;
  readonly body?: Uint8Array<ArrayBuffer>;
}

interface Answer {
  readonly status: number;
  readonly type: string | null;
  readonly text: string;
}

/** The values by name and labels: `stowage_commits_total` or `stowage_load_bytes_total{outcome="written"}`. */
function valuesOf(text: string): ReadonlyMap<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const [, series = "", value = ""] = /^(\w+(?:\{.*\})?) (\S+)$/.exec(line) ?? [];
      expect([line, series]).not.toContain("");
      return [series, Number(value)];
    }),
  );
}

describe("/metrics", () => {
  it("is for callers with the action metrics, also if they have few repositories", async () => {
    const ask = await serve({ STOWAGE_TOKENS });
    expect(await ask("/metrics")).toMatchObject({ status: 401 });
    expect(await ask("/metrics", { name: "nobody-knows" })).toMatchObject({ status: 401 });
    expect(await ask("/metrics", { name: "ci" })).toMatchObject({ status: 403 });
    expect(await ask("/metrics", { name: "prometheus" })).toMatchObject({
      status: 200,
      type: expect.stringMatching(/^text\/plain; version=0\.0\.4/) as string,
    });
    expect(await ask("/metrics", { name: "prometheus", method: "POST" })).toMatchObject({ status: 405 });
    expect(await ask("/v2/team/app/tags/list", { name: "prometheus" })).toMatchObject({ status: 403 });
  });

  it.each([
    ["public", 200],
    ["off", 404],
  ])("answers everybody if STOWAGE_METRICS is %s with %d", async (STOWAGE_METRICS, status) => {
    const ask = await serve({ STOWAGE_TOKENS, STOWAGE_METRICS });
    expect(await ask("/metrics")).toMatchObject({ status });
  });

  describe("counts", () => {
    let ask: Awaited<ReturnType<typeof serve>>;
    let values: ReadonlyMap<string, number>;
    beforeEach(async () => {
      ask = await serve({ STOWAGE_TOKENS, STOWAGE_ANONYMOUS_PULL: "true" });
      const put = { method: "PUT", body: new Uint8Array(tarball) };
      expect(await ask("/v1/load", { ...put, name: "ci" })).toMatchObject({ status: 201 });
      expect(await ask("/v1/load", { ...put, name: "ci" })).toMatchObject({ status: 200 });
      expect(await ask("/v1/load/base:1", { ...put, name: "ci" })).toMatchObject({ status: 403 });
      expect(await ask("/v1/load", { ...put, name: "guess" })).toMatchObject({ status: 401 });
      expect(await ask("/v2/team/app/manifests/1.4")).toMatchObject({ status: 200 });
      expect(await ask("/v2/team/app/manifests/2")).toMatchObject({ status: 404 });
      expect(await ask("/secret-path/of-a-client")).toMatchObject({ status: 404 });
      values = valuesOf((await ask("/metrics", { name: "prometheus" })).text);
    });

    it.each([
      ['stowage_operations_total{operation="load",result="ok",code="none"}', 2],
      ['stowage_operations_total{operation="load",result="refused",code="DENIED"}', 1],
      ['stowage_operations_total{operation="pull",result="ok",code="none"}', 1],
      ['stowage_operations_total{operation="pull",result="ok",code="MANIFEST_UNKNOWN"}', 1],
      ['stowage_requests_total{method="PUT",route="/v1/load",status="201"}', 1],
      ['stowage_requests_total{method="PUT",route="none",status="401"}', 1],
      ['stowage_request_duration_seconds_count{method="PUT",route="/v1/load"}', 2],
      ['stowage_request_bytes_total{route="/v1/load",direction="in"}', 2 * tarball.length],
      ['stowage_caller_requests_total{caller="ci",result="ok",code="none"}', 2],
      ['stowage_caller_requests_total{caller="unknown",result="refused",code="UNAUTHORIZED"}', 1],
      ['stowage_caller_bytes_total{caller="ci",direction="in"}', 2 * tarball.length],
      ['stowage_load_bytes_total{outcome="received"}', 2 * tarball.length],
      ['stowage_line_capacity{line="loads"}', 64],
      ['stowage_line_held{line="memory"}', 0],
      ["stowage_commits_total", 1],
    ])("%s", (series, value) => {
      expect(values.get(series), [...values.keys()].join("\n")).toBe(value);
    });

    it("what was written, and what was there already", () => {
      const written = values.get('stowage_load_bytes_total{outcome="written"}');
      expect(written).toBeGreaterThan(layer.length);
      expect(values.get('stowage_load_bytes_total{outcome="present"}')).toBe(written);
      expect(values.get('stowage_caller_stored_bytes_total{caller="ci"}')).toBe(written);
    });

    it("the store's requests and their time, and what the process needs", () => {
      for (const operation of ["get", "head", "put"]) {
        const calls = values.get(`stowage_store_request_duration_seconds_count{operation="${operation}"}`);
        expect(calls).toBeGreaterThan(0);
        expect(values.get(`stowage_store_requests_total{operation="${operation}"}`)).toBe(calls);
      }
      expect(values.get("process_cpu_seconds_total")).toBeGreaterThan(0);
    });

    it("everything that the dashboard for Grafana shows", async () => {
      const dashboard = await readFile(new URL("../../infra/grafana.json", import.meta.url), "utf8");
      const { text } = await ask("/metrics", { name: "prometheus" });
      const known = new Set([...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name));
      const shown = [...dashboard.matchAll(/\b(?:stowage|process)_[a-z_]+/g)].map(([name]) =>
        name.replace(/_bucket$/, ""),
      );
      expect(shown.length).toBeGreaterThan(10);
      expect(shown.filter((name) => !known.has(name))).toEqual([]);
    });

    it("nothing under a name that a client has chosen", () => {
      const text = [...values.keys()].join("\n");
      for (const chosen of ["team/app", "1.4", "base", "secret-path", "guess"]) expect(text).not.toContain(chosen);
    });
  });
});
