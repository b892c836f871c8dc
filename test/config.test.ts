import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { defaultLimits } from "../src/limits.ts";
import { type Config, type PlatformTraits, parseConfig } from "../src/settings/config.ts";
import { sha256 } from "./support/bytes.ts";

const token = {
  name: "ci",
  sha256: sha256(Buffer.from("secret")).slice("sha256:".length),
  actions: ["load"],
  repositories: ["team/**"],
};
const STOWAGE_TOKENS = JSON.stringify([token]);
const rule = {
  issuer: "https://issuer.example",
  audience: "stowage",
  claims: { repository_owner: "acme" },
  actions: ["load"],
  repositories: ["${repository}"],
};
const STOWAGE_OIDC = JSON.stringify([rule]);
/** A platform that has files. */
const openTokensFile: PlatformTraits["openTokensFile"] = async () => Promise.reject(new Error("not to be read yet"));
const reachable = { HOST: "0.0.0.0" };

function accessOf(env: Record<string, string>, options?: PlatformTraits): Config["access"] {
  return parseConfig(env, options).access;
}

describe("parseConfig", () => {
  it("keeps a directory and listens on loopback alone where nothing is set", () => {
    expect(parseConfig({})).toMatchObject({ storeUrl: "file:./data", host: "127.0.0.1", port: 8080, access: "anyone" });
  });

  it.each<[env: Record<string, string>, hosts: string[] | undefined]>([
    [{}, ["localhost", "127.0.0.1", "[::1]"]],
    [{ HOST: "::1" }, ["localhost", "127.0.0.1", "[::1]"]],
    [{ HOST: "127.0.0.5" }, ["localhost", "127.0.0.1", "[::1]", "127.0.0.5"]],
    [{ STOWAGE_ALLOW_ANYONE: "true" }, ["localhost", "127.0.0.1", "[::1]"]],
    [
      { STOWAGE_HOSTS: "A.example:80 b,[2001:DB8::1]" },
      ["localhost", "127.0.0.1", "[::1]", "a.example", "b", "[2001:db8::1]"],
    ],
    [{ STOWAGE_TOKENS, STOWAGE_HOSTS: "a" }, ["localhost", "127.0.0.1", "[::1]", "a"]],
    [{ STOWAGE_TOKENS }, undefined],
    [{ STOWAGE_ANONYMOUS_PULL: "true" }, undefined],
    [{ STOWAGE_ALLOW_ANYONE: "true", HOST: "0.0.0.0" }, undefined],
  ])("knows the names under which the service may be asked: %j", (env, hosts) => {
    expect(parseConfig(env).hosts).toEqual(hosts);
  });

  it.each(["http://a", "a/b", "*", ",", "a;b", "::1", "a..b:x", "a".repeat(300)])("takes no %j for a host", (text) => {
    expect(() => parseConfig({ STOWAGE_HOSTS: text })).toThrow(/^ {2}STOWAGE_HOSTS is ".*", expected names such as /m);
  });

  it("knows no names where the platform decides who reaches it", () => {
    const env = { STOWAGE_ALLOW_ANYONE: "true" };
    expect(parseConfig(env, { isReachable: true }).hosts).toBeUndefined();
  });

  it("reports every setting that it cannot use at once", () => {
    const env = { PORT: "http", STOWAGE_STORE: "ftp:x", STOWAGE_TOKENS: "[1,2]", STOWAGE_ANONYMOUS_PULL: "yes" };
    expect(() => parseConfig(env)).toThrow(
      /^Cannot use the settings:\n(?=[^]*PORT is "http")(?=[^]*STOWAGE_STORE is "ftp:x")(?=[^]*PULL is "yes")[^]*entry 2 of 2/,
    );
  });

  it.each([
    [{ STOWAGE_TOKENS }, { tokens: [token], anonymousPull: false }],
    [
      { STOWAGE_TOKENS, STOWAGE_ANONYMOUS_PULL: "true" },
      { tokens: [token], anonymousPull: true },
    ],
    [{ STOWAGE_ANONYMOUS_PULL: "true" }, { tokens: [], anonymousPull: true }],
    [{ STOWAGE_TOKENS: "[]" }, { tokens: [], anonymousPull: false }],
    [{ STOWAGE_OIDC }, { tokens: [], anonymousPull: false, oidc: [rule] }],
    [{ STOWAGE_OIDC: "[]" }, { tokens: [], anonymousPull: false, oidc: [] }],
    [
      { STOWAGE_OIDC, STOWAGE_TOKENS, STOWAGE_ANONYMOUS_PULL: "true" },
      { tokens: [token], anonymousPull: true, oidc: [rule] },
    ],
    [{ STOWAGE_ALLOW_ANYONE: "true" }, "anyone"],
  ])("lets in whom %j says, wherever the service is", (env, access) => {
    expect(accessOf(env)).toEqual(access);
    expect(accessOf({ ...env, ...reachable })).toEqual(access);
    expect(accessOf(env, { isReachable: true })).toEqual(access);
  });

  it.each([
    [reachable, {}, /^ {2}HOST is "0\.0\.0\.0", where others can reach the service, /m],
    [{ HOST: "::" }, {}, /^ {2}HOST is "::", /m],
    [{ ...reachable, STOWAGE_TOKENS: "" }, {}, /HOST is/],
    [{ ...reachable, STOWAGE_ALLOW_ANYONE: "false", STOWAGE_ANONYMOUS_PULL: "false" }, {}, /HOST is/],
    [{}, { isReachable: true }, /^ {2}Others can reach the service, /m],
    [{ HOST: "127.0.0.1" }, { isReachable: true }, /^ {2}Others can reach the service, /m],
  ])("refuses to let everybody in by accident: %j %j", (env, options, message) => {
    expect(() => parseConfig(env, options)).toThrow(message);
    expect(() => parseConfig(env, options)).toThrow(
      /STOWAGE_TOKENS .*`stowage token NAME`.*STOWAGE_OIDC .*STOWAGE_ANONYMOUS_PULL=true .*STOWAGE_ALLOW_ANYONE=true /,
    );
  });

  it.each(["localhost", "127.0.0.1", "127.1.2.3", "::1"])("asks nobody on %s", (HOST) => {
    expect(accessOf({ HOST })).toBe("anyone");
  });

  it("asks for the tokens of a file, on platforms that have files", () => {
    const env = { STOWAGE_TOKENS_FILE: "/run/tokens.json", ...reachable };
    expect(parseConfig(env, { openTokensFile })).toMatchObject({
      access: { tokens: [], anonymousPull: false },
      tokensFile: "/run/tokens.json",
    });
    expect(() => parseConfig(env)).toThrow(
      /^ {2}STOWAGE_TOKENS_FILE: .*this platform has no files: expected STOWAGE_TOK/m,
    );
    expect(() => parseConfig({ ...env, STOWAGE_TOKENS }, { openTokensFile })).toThrow(
      /^ {2}STOWAGE_TOKENS_FILE: .*one of/m,
    );
    expect(() => parseConfig({ ...env, STOWAGE_ALLOW_ANYONE: "true" }, { openTokensFile })).toThrow(/one or the other/);
  });

  it("does not take rules that it cannot read for none", () => {
    const env = { ...reachable, STOWAGE_OIDC: JSON.stringify([{ ...rule, claims: {} }]), STOWAGE_TOKENS: "[1]" };
    expect(() => parseConfig(env)).toThrow(
      /(?=[^]*STOWAGE_TOKENS, entry 1 of 1)[^]*STOWAGE_OIDC, entry 1 of 1: claims is an empty object/,
    );
    expect(() => parseConfig(env)).not.toThrow(/HOST/);
  });

  it.each([{ STOWAGE_TOKENS }, { STOWAGE_OIDC }, { STOWAGE_ANONYMOUS_PULL: "true" }, { STOWAGE_TOKENS: "[]" }])(
    "refuses %j beside STOWAGE_ALLOW_ANYONE=true",
    (env) => {
      expect(() => parseConfig({ ...env, STOWAGE_ALLOW_ANYONE: "true" })).toThrow(/expected one or the other/);
    },
  );

  it("reads every limit", () => {
    const env = {
      STOWAGE_MAX_BODY_BYTES: "10GB",
      STOWAGE_MAX_BLOB_BYTES: "1GiB",
      STOWAGE_MAX_LOADS: "8",
      STOWAGE_MAX_IDLE_SECONDS: "30",
      STOWAGE_MAX_LOAD_SECONDS: "10m",
    };
    const limits = {
      maxBodyBytes: 10e9,
      maxBlobBytes: 2 ** 30,
      maxLoads: 8,
      maxIdleSeconds: 30,
      maxLoadSeconds: 600,
    };
    expect(parseConfig(env).limits).toEqual({ ...defaultLimits, ...limits });
  });

  it("reads the defaults as docs/using.md writes them", async () => {
    const using = await readFile(new URL("../docs/using.md", import.meta.url), "utf8");
    const rows = [...using.matchAll(/^\| `(STOWAGE_(?:MAX_[A-Z_]+|[A-Z_]+_SECONDS))` +\| `([^`]+)`/gm)];
    expect(rows).toHaveLength(Object.keys(defaultLimits).length + ["stop", "keep alive", "connections"].length);
    const env = Object.fromEntries(rows.map(([, name = "", value = ""]) => [name, value]));
    expect(parseConfig(env)).toEqual(parseConfig({}));
    expect(parseConfig(env).limits).toEqual(defaultLimits);
  });

  it.each([
    ["STOWAGE_MAX_LOADS", "0", "a number from 1 to 128"],
    ["STOWAGE_MAX_LOADS", "1000", "a number from 1 to 128"],
    ["STOWAGE_MAX_IDLE_SECONDS", "0", "seconds, such as 90, or a time such as 5m or 2h, from 1s to 20d"],
    ["STOWAGE_MAX_LOAD_SECONDS", "never", "seconds, such as 90, or a time such as 5m or 2h, from 1s to 20d"],
    ["STOWAGE_KEEP_ALIVE_SECONDS", "0", "seconds, such as 90, or a time such as 5m or 2h, from 1s to 20d"],
    ["STOWAGE_MAX_CONNECTIONS", "0", "a whole number, at least 1"],
    ["STOWAGE_STOP_SECONDS", "2d", "seconds, or a time such as 2m, at most 1d"],
    ["STOWAGE_GC_GRACE", "59m", "a time such as 90m, 24h or 7d, at least 1h"],
    ["STOWAGE_GC_GRACE", "never", "a time such as 90m, 24h or 7d, at least 1h"],
    ["STOWAGE_GC_EVERY", "daily", "a time such as 90m, 24h or 7d, or never"],
    ["STOWAGE_MAX_BODY_BYTES", "-1", "a number of bytes, such as 67108864, 64MiB or 10GB"],
  ])("refuses %s=%s and says what it expects", (name, text, expected) => {
    expect(() => parseConfig({ [name]: text })).toThrow(`${name} is "${text}", expected ${expected}`);
  });

  it("reads the times of gc", () => {
    expect(parseConfig({})).toMatchObject({ gcGraceSeconds: 86_400, gcEverySeconds: 86_400 });
    expect(parseConfig({ STOWAGE_GC_GRACE: "3600", STOWAGE_GC_EVERY: "7d" })).toMatchObject({
      gcGraceSeconds: 3600,
      gcEverySeconds: 604_800,
    });
    for (const every of ["never", "0"]) expect(parseConfig({ STOWAGE_GC_EVERY: every }).gcEverySeconds).toBe(0);
  });

  it("reads the rules of gc, and reports each part that it cannot use", () => {
    const rules = [
      { repositories: ["team/**"], tags: ["v*"], keep: "always" },
      { keepLatest: 10, dropAfter: "30d" },
      { untagged: true, dropAfter: "1h" },
    ];
    expect(parseConfig({ STOWAGE_RETENTION: JSON.stringify(rules) }).retention).toEqual([
      { repositories: ["team/**"], fits: ["v*"] },
      { repositories: ["**"], fits: ["*"], drops: { keepLatest: 10, olderThanMs: 30 * 24 * 3_600_000 } },
      { repositories: ["**"], fits: "untagged", drops: { olderThanMs: 3_600_000 } },
    ]);
    expect(parseConfig({})).toMatchObject({ retention: [], retentionFile: undefined });
  });

  it.each<[unknown, string]>([
    [{}, "STOWAGE_RETENTION, found an empty object, expected a JSON list"],
    [[{}], 'entry 1 of 1: keep is not there, expected "always", or "keepLatest" or "dropAfter" instead'],
    [[{ keep: true }], "keep is a boolean, expected "],
    [[{ keep: "always", keepLatest: 3 }], 'keepLatest is a number, expected nothing beside "keep"'],
    [[{ keep: "always", dropAfter: "3d" }], 'dropAfter is a text of 2 characters, expected nothing beside "keep"'],
    [[{ keepLatest: 0 }], "keepLatest is a number, expected a whole number, at least 1"],
    [[{ keepLatest: 1.5 }], "keepLatest is a number, expected a whole number, at least 1"],
    [[{ keepLatest: 5, dropAfter: 30 }], "dropAfter is a number, expected a time such as 12h or 30d, at least 1h"],
    [[{ dropAfter: "7m" }], "dropAfter is a text of 2 characters, expected a time such as 12h or 30d, at least 1h"],
    [[{ dropAfter: "30" }], "dropAfter is a text of 2 characters, expected a time"],
    [[{ untagged: false, dropAfter: "7d" }], "untagged is a boolean, expected true, or no such property"],
    [
      [{ untagged: true, tags: ["*"], dropAfter: "7d" }],
      'tags is a list of something else, expected nothing beside "unt',
    ],
    [[{ tags: "v*", dropAfter: "7d" }], "tags is a text of 2 characters, expected a list of tags"],
    [[{ tags: ["a b"], dropAfter: "7d" }], "tags is a list of something else, expected a list of tags"],
    [[{ repositories: ["Team"], keepLatest: 1 }], "repositories is a list of something else, expected a list of repo"],
    [[{ keepLatest: 1, droppAfter: "7d" }], "found a property that means nothing, expected repositories, tags, unt"],
  ])("refuses the rules %j", (rules, problem) => {
    expect(() => parseConfig({ STOWAGE_RETENTION: JSON.stringify(rules) })).toThrow(problem);
  });

  it("takes a file of rules on platforms that have files, and not beside other rules", () => {
    const env = { STOWAGE_RETENTION_FILE: "/etc/rules.json" };
    expect(parseConfig(env, { hasFiles: true })).toMatchObject({ retentionFile: "/etc/rules.json", retention: [] });
    expect(() => parseConfig(env)).toThrow(/^ {2}STOWAGE_RETENTION_FILE: .*no files: expected STOWAGE_RETENTION$/m);
    expect(() => parseConfig({ ...env, STOWAGE_RETENTION: "[]" }, { hasFiles: true })).toThrow(/one of them/);
  });

  it("reads which tags never move, and reports each pattern that it cannot use", () => {
    expect(parseConfig({}).immutableTags).toEqual([]);
    expect(parseConfig({ STOWAGE_IMMUTABLE_TAGS: "v*,team/**:stable" }).immutableTags).toEqual([
      { repository: "**", tag: "v*" },
      { repository: "team/**", tag: "stable" },
    ]);
    expect(() => parseConfig({ STOWAGE_IMMUTABLE_TAGS: "v*,?,A:b", PORT: "x" })).toThrow(
      /(?=[^]*PORT is "x")(?=[^]*STOWAGE_IMMUTABLE_TAGS: found "\?", expected)[^]*STOWAGE_IMMUTABLE_TAGS: found "A:b", expected/,
    );
  });

  it("does not take tokens that it cannot read for none", () => {
    const env = { ...reachable, STOWAGE_TOKENS: "[{}]" };
    expect(() => parseConfig(env)).toThrow(/STOWAGE_TOKENS, entry 1 of 1: name is not there/);
    expect(() => parseConfig(env)).not.toThrow(/HOST/);
  });

  it("reads the limits of what an archive may hold and expand to", () => {
    const env = { STOWAGE_MAX_PAX_BYTES: "1MiB", STOWAGE_MAX_EXPANSION_RATIO: "9", STOWAGE_MAX_EXPANDED_BYTES: "2GiB" };
    expect(parseConfig(env).limits).toMatchObject({
      maxPaxBytes: 2 ** 20,
      maxExpansionRatio: 9,
      maxExpandedBytes: 2 ** 31,
    });
    expect(() => parseConfig({ STOWAGE_MAX_EXPANSION_RATIO: "0" })).toThrow(
      /RATIO is "0", expected a whole number, at/,
    );
  });
});
