/** What `docker login` has kept, in the file and by real programs that keep it elsewhere. */
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Credentials } from "../../src/remote/credentials.ts";
import { dockerCredentials } from "../../src/remote/docker-credentials.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "stowage-docker-"));
});
afterEach(async () => rm(folder, { recursive: true }));

async function find(host: string, config?: unknown): Promise<Credentials | undefined> {
  if (config !== undefined) await writeFile(join(folder, "config.json"), JSON.stringify(config));
  return dockerCredentials({ DOCKER_CONFIG: folder, PATH: `${folder}:${process.env["PATH"]}` })(host);
}

async function helper(name: string, script: string): Promise<void> {
  const path = join(folder, `docker-credential-${name}`);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
}

const encode = (text: string): { auth: string } => ({ auth: Buffer.from(text).toString("base64") });
const me = { user: "me", password: "pass:word" };

describe("dockerCredentials", () => {
  it("finds nothing without a file, and for other hosts", async () => {
    expect(await find("ghcr.io")).toBeUndefined();
    expect(await find("ghcr.io", {})).toBeUndefined();
    expect(
      await find("ghcr.io", { auths: { "ghcr.io.example": encode("me:pass:word"), "ghcr.io": {} } }),
    ).toBeUndefined();
  });

  it.each([
    ["ghcr.io", "ghcr.io"],
    ["127.0.0.1:5000", "127.0.0.1:5000"],
    ["ghcr.io", "https://ghcr.io"],
    ["ghcr.io", "https://ghcr.io/v2/"],
    ["registry-1.docker.io", "https://index.docker.io/v1/"],
  ])("finds user and password for %s under %s", async (host, key) => {
    expect(await find(host, { auths: { [key]: encode("me:pass:word") } })).toEqual(me);
  });

  it.each([
    [{ username: "me", password: "pass:word" }, me],
    [{ ...encode("me:"), identitytoken: "refresh" }, { identityToken: "refresh" }],
    [{ registrytoken: "token" }, { token: "token" }],
  ])("reads %j", async (entry, expected) => {
    expect(await find("ghcr.io", { auths: { "ghcr.io": entry } })).toEqual(expected);
  });

  it("asks the helper of the host, and the helper of all others", async () => {
    await helper(
      "one",
      `read -r server; printf '{"ServerURL":"%s","Username":"me","Secret":"of %s"}' "$server" "$server"`,
    );
    await helper("all", `printf '{"Username":"<token>","Secret":"refresh"}'`);
    const config = { credHelpers: { "ghcr.io": "one" }, credsStore: "all" };
    expect(await find("ghcr.io", config)).toEqual({ user: "me", password: "of ghcr.io" });
    expect(await find("other.example", config)).toEqual({ identityToken: "refresh" });
  });

  it("reads the file where the helper knows nothing", async () => {
    await helper("all", "echo credentials not found in native keychain; exit 1");
    expect(await find("ghcr.io", { credsStore: "all", auths: { "ghcr.io": encode("me:pass:word") } })).toEqual(me);
    expect(await find("other.example")).toBeUndefined();
  });

  it.each([
    ["fails", "echo locked; exit 3", /docker-credential-it: it ended with 3: locked$/],
    ["says something else", "echo '[]'", /answered without a user and a secret$/],
    ["says too much", "yes", /it answered more than 65536 bytes$/],
    ["is killed", "kill -9 $$", /SIGKILL ended it$/],
  ])("says so if the helper %s", async (_, script, message) => {
    await helper("it", script);
    await expect(find("ghcr.io", { credsStore: "it" })).rejects.toThrow(message);
  });

  it("says so if there is no such helper", async () => {
    await expect(find("ghcr.io", { credsStore: "absent" })).rejects.toThrow(/from docker-credential-absent: .*ENOENT/);
    await expect(find("ghcr.io", { credsStore: "../x" })).rejects.toThrow(/its name has other characters/);
  });

  it("says so if the file cannot be read", async () => {
    await writeFile(join(folder, "config.json"), "{");
    await expect(find("ghcr.io")).rejects.toMatchObject({ code: "INPUT_INVALID" });
    await expect(find("ghcr.io", { auths: { "ghcr.io": { auth: "####" } } })).rejects.toThrow(
      /is no user and password/,
    );
  });
});
