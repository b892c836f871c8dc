import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { stagingPrefix } from "../../src/layout/keys.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder, serveStowage, stowage as runStowage } from "../support/run-stowage.ts";
import { runTool } from "../tools/run-tool.ts";
import { type Service, startService } from "../tools/start-service.ts";
import { freePortPairs } from "./free-port.ts";
import { at, missingPrograms, projectFolder, recordOf, textsOf } from "./infra-tools.ts";
import { makeToken } from "./make-token.ts";

const file = join(projectFolder, "infra/compose.yaml");
const keys = { S3_ACCESS_KEY_ID: "stowage", S3_SECRET_ACCESS_KEY: "secret-of-the-tests" };

describeIfFound("infra/compose.yaml", missingPrograms("compose-spec"), () => {
  const { secret, tokens } = makeToken(["pull", "load"]);
  let project: unknown;
  beforeAll(async () => {
    project = await readCompose({ ...keys, STOWAGE_TOKENS: tokens });
  });
  const service = (...path: readonly (string | number)[]): unknown => at(project, "services", ...path);

  it("does not start without tokens and keys", async () => {
    const required = (await readFile(file, "utf8")).matchAll(/\$\{(\w+)(:\?[^}]*)?\}/g);
    for (const [text, , mark] of required) expect(mark, text).toBeDefined();
    expect(service("stowage", "environment")).toMatchObject({
      STOWAGE_TOKENS: tokens,
      AWS_SECRET_ACCESS_KEY: keys.S3_SECRET_ACCESS_KEY,
    });
  });

  it("opens the service to this machine alone, and nothing else to anybody", () => {
    expect(service("stowage", "ports")).toMatchObject([{ host_ip: "127.0.0.1", published: "8080", target: 8080 }]);
    expect(service("s3", "ports")).toBeUndefined();
    expect(service("stowage", "environment")).not.toHaveProperty("STOWAGE_ALLOW_ANYONE");
  });

  it("runs the service without privileges, on a file system that it cannot write to", () => {
    expect(service("stowage")).toMatchObject({
      read_only: true,
      cap_drop: ["ALL"],
      security_opt: ["no-new-privileges:true"],
    });
  });

  it("lets the service finish what runs before it is killed", () => {
    expect(service("stowage")).toMatchObject({
      stop_grace_period: "75s",
      environment: { STOWAGE_STOP_SECONDS: "60" },
    });
  });

  it("starts each part once what it needs is well", () => {
    expect(service("lifecycle", "depends_on", "s3")).toMatchObject({ condition: "service_healthy" });
    expect(service("stowage", "depends_on", "lifecycle")).toMatchObject({
      condition: "service_completed_successfully",
    });
    expect(service("gc", "depends_on", "stowage")).toMatchObject({ condition: "service_healthy" });
  });

  it("bounds the memory of all that stays", () => {
    for (const name of ["stowage", "gc", "s3"]) expect(service(name, "mem_limit"), name).toMatch(/^\d+m$/);
    const limit = Number.parseInt(String(service("s3", "mem_limit")), 10);
    expect(Number.parseInt(String(service("s3", "environment", "GOMEMLIMIT")), 10)).toBeLessThan(limit);
  });

  it("collects garbage once a day in the service's store, if that is asked for", () => {
    const { STOWAGE_STORE, ...others } = recordOf(service("gc", "environment"));
    expect(service("gc")).toMatchObject({
      profiles: ["gc"],
      image: service("stowage", "image"),
      command: ["sh", "-c", expect.stringContaining("node dist/cli/stowage.js gc; sleep 86400;")],
      read_only: true,
    });
    expect(service("stowage", "environment")).toMatchObject({ STOWAGE_STORE, ...others });
    expect(others).not.toHaveProperty("STOWAGE_TOKENS");
  });

  it("names releases of the images that it pulls", () => {
    for (const name of ["s3", "lifecycle"]) expect(service(name, "image")).toMatch(/^\w+\/\w+:\d+\.\d+(\.\d+)?$/);
  });

  describeIfFound("as it is, but on loopback", missingPrograms("weed", "curl"), () => {
    let s3: Service | undefined;
    afterAll(async () => s3?.stop());

    it("makes a bucket with its lifecycle rules, which the service can use", { timeout: 60_000 }, async () => {
      const folder = await mkdtemp(join(tmpdir(), "stowage-compose-")); // goes with the server
      const [port = 0, ...ports] = await freePortPairs(5);
      const onLoopback = (text: string): string => text.replace("//s3:8333", `//127.0.0.1:${port}`);
      const others = ["master", "volume", "filer", "admin"].map((name, i) => `-${name}.port=${ports[i]}`);
      const own = [`-dir=${folder}`, "-ip=127.0.0.1", "-ip.bind=127.0.0.1", `-s3.port=${port}`, ...others];
      s3 = await startService({
        command: ["weed", ...textsOf(service("s3", "command")), ...own], // the last of each option counts
        folder,
        env: recordOf(service("s3", "environment")),
        ready: async () => {
          const url = textsOf(service("s3", "healthcheck", "test")).at(-1) ?? "";
          const answer = await fetch(url.replace(":8333", `:${port}`)).catch(() => undefined);
          return answer?.ok === true ? "ready" : undefined;
        },
      });

      const rules = join(await newFolder(), "lifecycle.xml");
      await writeFile(rules, String(at(project, "configs", "lifecycle", "content")));
      const curl = textsOf(service("lifecycle", "command")).map((word) =>
        onLoopback(word).replace("/lifecycle.xml", rules),
      );
      await runTool("curl", curl);
      const upload = curl.findIndex((word) => word === "--upload-file");
      const kept = await runTool("curl", curl.toSpliced(upload, 2));
      expect(kept.replaceAll(/\s/g, "")).toMatch(/<DaysAfterInitiation>1</);
      expect(kept.replaceAll(/\s/g, "")).toContain(
        `<Prefix>images/${stagingPrefix}</Prefix></Filter><Expiration><Days>2<`,
      );

      const env = Object.fromEntries(
        Object.entries(recordOf(service("stowage", "environment"))).map(([name, text]) => [name, onLoopback(text)]),
      );
      const stowage = await serveStowage([], env);
      const [, ...check] = textsOf(service("stowage", "healthcheck", "test"));
      const { port: servedAt } = new URL(stowage.url);
      await runTool(
        check[0] ?? "",
        check.slice(1).map((word) => word.replace(":8080", `:${servedAt}`)),
      );
      const headers = { Authorization: `Bearer ${secret}` };
      const body = await tarOf(makeLayout({ name: "docker.io/team/app:1.4" }));
      const load = await fetch(`${stowage.url}/v1/load`, { method: "PUT", body, headers });
      expect(load.status, await load.text()).toBe(201);
      expect((await fetch(`${stowage.url}/v2/team/app/manifests/1.4`, { headers })).status).toBe(200);
      expect((await fetch(`${stowage.url}/v2/team/app/manifests/1.4`)).status).toBe(401);

      const ofGc = recordOf(service("gc", "environment"));
      const gcEnv = Object.fromEntries(Object.entries(ofGc).map(([name, text]) => [name, onLoopback(text)]));
      expect(await runStowage(["gc"], { env: gcEnv })).toMatchObject({ code: 0, stderr: "" });
      stowage.kill("SIGTERM");
      await stowage.outcome;
    });
  });
});

/** What Compose itself makes of the file. Its reader, used alone, knows no settings: they are put in afterwards. */
async function readCompose(settings: Readonly<Record<string, string>>): Promise<unknown> {
  const text = await runTool("compose-spec", ["-format", "json", "-no-interpolation", file]);
  return JSON.parse(text, (_key, value: unknown) =>
    typeof value === "string"
      ? value.replaceAll(/\$\{(\w+)[^}]*\}/g, (_all, name: string) => settings[name] ?? "")
      : value,
  );
}
