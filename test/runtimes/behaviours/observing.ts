/** What the service says about itself: ids of requests, the log, and metrics. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { isJsonObject } from "../../../src/oci/json.ts";
import { randomBytes, sha256 } from "../../support/bytes.ts";
import { makeLayout, tarOf } from "../../support/layout.ts";
import { type Behaviour, type Trial, ask, load, loaded, secrets } from "../trial.ts";

const withoutMetrics = ["workers, R2", "workers, S3", "lambda"];

export const observing: readonly Behaviour[] = [
  {
    name: "ids of requests, in answers, errors and the log",
    run: async (trial) => {
      const headers = { "X-Request-Id": `job-${crypto.randomUUID()}`, "User-Agent": `job/${"1".repeat(300)}` };
      const refused = await load(trial, Buffer.from("no tarball"), "observed/app:1", { headers });
      expect(refused.headers.get("X-Request-Id")).toBe(headers["X-Request-Id"]);
      expect(refused.json).toMatchObject({ errors: [{ detail: { requestId: headers["X-Request-Id"] } }] });
      expect(await lineOf(trial, headers["X-Request-Id"])).toMatchObject({
        level: "warn",
        caller: "owner",
        method: "PUT",
        route: "/v1/load/<image>",
        repository: "observed/app",
        status: 400,
        outcome: "refused",
        code: "ARCHIVE_INVALID",
        bytesIn: 10,
        userAgent: `job/${"1".repeat(196)}`,
      });
      const made = (await ask(trial, "/v2/")).headers.get("X-Request-Id");
      expect(made).toMatch(/^[0-9a-f-]{36}$/);
    },
  },
  {
    name: "the log: callers, bytes in and out, requests to the store",
    run: async (trial) => {
      const layer = randomBytes(150_000);
      const tarball = await tarOf(makeLayout({ layers: [layer], name: "observed/app:2" }));
      const id = crypto.randomUUID();
      expect((await load(trial, tarball, undefined, { headers: { "X-Request-Id": id } })).status).toBe(201);
      expect(await lineOf(trial, id)).toMatchObject({ caller: "owner", status: 201, bytesIn: tarball.length });
      expect((await lineOf(trial, id))["storeRequests"]).toBeGreaterThan(3);
      const pull = { secret: secrets.reader, headers: { "X-Request-Id": `${id}-pull` } };
      expect((await ask(trial, `/v2/observed/app/blobs/${sha256(layer)}`, pull)).status).toBe(200);
      expect(await lineOf(trial, `${id}-pull`)).toMatchObject({
        caller: "reader",
        route: "/v2/<name>/blobs/<digest>",
        outcome: "ok",
        bytesOut: layer.length,
      });
    },
  },
  {
    name: "metrics, for callers with that action",
    except: withoutMetrics,
    run: async (trial) => {
      await loaded(trial, await tarOf(makeLayout({ name: "observed/app:3" })));
      expect(await ask(trial, "/metrics", { secret: undefined })).toMatchObject({ status: 401 });
      expect(await ask(trial, "/metrics", { secret: secrets.reader })).toMatchObject({ status: 403, code: "DENIED" });
      const { status, bytes } = await ask(trial, "/metrics", { secret: secrets.metrics });
      expect([status, bytes.toString()]).toEqual([
        200,
        expect.stringMatching(/^stowage_operations_total\{operation="load",result="ok",code="none"\} [1-9]/m),
      ]);
      expect(bytes.toString()).toMatch(/^process_start_time_seconds [1-9]/m);
    },
  },
  {
    name: "no metrics: their instances cannot be asked one by one",
    only: withoutMetrics,
    run: async (trial) => {
      expect(await ask(trial, "/metrics", { secret: secrets.metrics })).toMatchObject({ status: 404 });
    },
  },
];

/** The line of a request. It comes after the answer. */
async function lineOf({ log }: Trial, id: string): Promise<Readonly<Record<string, unknown>>> {
  const until = Date.now() + 10_000;
  for (;;) {
    const found = log()
      .split("\n")
      .filter((line) => line.includes(`"${id}"`))
      .map(parseLine)
      .find((line) => line?.["event"] === "request" && line["id"] === id);
    if (found !== undefined) return found;
    if (Date.now() > until) throw new Error(`expected a line of the request ${id}`);
    await sleep(20);
  }
}

function parseLine(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const json: unknown = JSON.parse(line.slice(line.indexOf("{")));
    return isJsonObject(json) ? json : undefined;
  } catch {
    return undefined; // a line that is not whole yet
  }
}
