/** Tokens from a file that is replaced, damaged and removed while the service runs. */
import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { sha256 } from "../support/bytes.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder, serveStowage, stowage, until } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { startProgram } from "./start-program.ts";
import { denoServe, runtimes } from "./start-runtime.ts";

/** The text of a file with these tokens. The secret of each is its name. */
function tokensOf(...names: readonly string[]): string {
  const tokens = names.map((name) => {
    return { name, sha256: sha256(Buffer.from(name)).slice("sha256:".length), actions: ["pull"] };
  });
  return JSON.stringify(tokens);
}

async function statusOf(url: string, secret: string): Promise<number> {
  const response = await fetch(`${url}/v2/`, { headers: { Authorization: `Bearer ${secret}` } });
  await response.arrayBuffer();
  return response.status;
}

const programs = runtimes.filter(({ tool }) => ["node20", "deno", "bun"].includes(tool));

for (const runtime of [...programs, denoServe]) {
  describeIfFound(`STOWAGE_TOKENS_FILE on ${runtime.name}`, missingTools([runtime.tool]), () => {
    it("is read again when a link of its path leads elsewhere, as in Kubernetes", { timeout: 60_000 }, async () => {
      const folder = await newFolder();
      const publish = async (version: string, text: string): Promise<void> => {
        await mkdir(join(folder, version));
        await writeFile(join(folder, version, "tokens.json"), text);
        await symlink(version, join(folder, "..next"));
        await rename(join(folder, "..next"), join(folder, "..data"));
      };
      await publish("..1", tokensOf("first"));
      await symlink("..data/tokens.json", join(folder, "tokens.json"));
      const settings = { STOWAGE_STORE: "memory:", STOWAGE_TOKENS_FILE: join(folder, "tokens.json") };
      const { child, url: started, ended, output } = await startProgram(runtime, settings);
      const url = await started;
      await until(() => (output().includes("; first may pull; nobody else may do anything") ? true : undefined));
      expect([await statusOf(url, "first"), await statusOf(url, "second")]).toEqual([200, 401]);
      await publish("..2", tokensOf("second"));
      await until(async () => ((await statusOf(url, "second")) === 200 ? true : undefined));
      expect(await statusOf(url, "first")).toBe(401);
      await until(() => (/ read .*tokens\.json again, it has 1 tokens$/m.test(output()) ? true : undefined));
      child.kill("SIGTERM");
      expect(await ended).toBe(0);
    });
  });
}

describe("STOWAGE_TOKENS_FILE", () => {
  it("keeps the last good tokens in use while the file is wrong or away, and the log says so once", async () => {
    const file = join(await newFolder(), "tokens.json");
    const replace = async (text: string): Promise<void> => {
      await writeFile(`${file}~`, text);
      await rename(`${file}~`, file);
    };
    await replace(tokensOf("first"));
    const service = await serveStowage(["--store", "memory:"], { STOWAGE_TOKENS_FILE: file });
    const logged = async (pattern: RegExp): Promise<void> => {
      await until(async () => {
        expect(await statusOf(service.url, "first")).toBe(200);
        return pattern.test(service.stdout()) ? true : undefined;
      });
    };
    await replace(`[{"name":"secret-in-the-wrong-place"}`);
    await logged(
      /STOWAGE_TOKENS_FILE, .*: found no JSON, expected a JSON list; the tokens that were read before stay in use$/m,
    );
    await writeFile(file, "");
    await logged(/: found an empty file, expected a JSON list; /);
    await replace(" ".repeat(1024 * 1024 + 1));
    await logged(/: found 1048577 bytes, expected at most 1048576; /);
    await rm(file);
    await logged(/: ENOENT: /);
    for (let i = 0; i < 12; i++) {
      expect(await statusOf(service.url, "first")).toBe(200);
      await sleep(200); // so that it looks twice more
    }
    for (const pattern of [/found no JSON/g, /found an empty file/g, /found 1048577 bytes/g, /ENOENT/g]) {
      expect(service.stdout().match(pattern)).toHaveLength(1);
    }
    const expires = { ...(JSON.parse(tokensOf("second")) as [object])[0], expires: "2020-01-01" };
    await replace(JSON.stringify([...(JSON.parse(tokensOf("first")) as object[]), expires]));
    await logged(/ again, it has 2 tokens$/m);
    await logged(/ Warning: the token "second" expired at 2020-01-02T00:00:00\.000Z; /);
    expect(await statusOf(service.url, "second")).toBe(401);
    expect(service.stdout()).not.toContain("secret-in-the-wrong-place");
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
  });

  it.each([
    ["is not there", undefined, /^ {2}STOWAGE_TOKENS_FILE, .*tokens\.json: ENOENT: no such file or directory/m],
    ["is empty", "", /tokens\.json: found an empty file, expected a JSON list$/m],
    ["is no list", "{}", /tokens\.json: found an empty object, expected a JSON list$/m],
    ["has a wrong entry", "[{}]", /tokens\.json: entry 1 of 1: name is not there[^]*entry 1 of 1: sha256 is not there/],
    ["is too large", " ".repeat(1024 * 1024 + 1), /tokens\.json: found 1048577 bytes, expected at most 1048576$/m],
  ])("ends the start if the file %s", async (_, text, message) => {
    const file = join(await newFolder(), "tokens.json");
    if (text !== undefined) await writeFile(file, text);
    const { code, stderr } = await stowage(["serve", "--port", "0"], { env: { STOWAGE_TOKENS_FILE: file } });
    expect(stderr).toMatch(/^stowage serve: Cannot use the settings:$/m);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
  });

  it("warns at the start of tokens that expire soon", async () => {
    const entry = async (name: string, expires: string): Promise<object> => {
      const { stdout } = await stowage(["token", name, "--expires", expires, "--json"]);
      return (JSON.parse(stdout) as { readonly entry: object }).entry;
    };
    const tokens = [await entry("soon", "13d"), await entry("later", "15d")];
    const service = await serveStowage(["--store", "memory:"], { STOWAGE_TOKENS: JSON.stringify(tokens) });
    expect(service.stdout()).toMatch(/ Warning: the token "soon" expires at .*; `stowage token soon` makes another$/m);
    expect(service.stdout()).not.toContain('"later"');
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0 });
  });
});
