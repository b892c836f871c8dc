import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseConfig } from "../src/settings/config.ts";
import { knownSettings, warnOfUnknown } from "../src/settings/known-settings.ts";

const source = new URL("../src/", import.meta.url);
const sources = readdirSync(source, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts") && path !== "settings/known-settings.ts")
  .map((path) => readFileSync(new URL(path, source), "utf8"))
  .join("\n");
const using = readFileSync(new URL("../docs/using.md", import.meta.url), "utf8");

function namesIn(text: string, pattern: RegExp): string[] {
  return [...new Set([...text.matchAll(pattern)].map(([, name = ""]) => name))].toSorted();
}

describe("knownSettings", () => {
  const known = Object.keys(knownSettings).filter((name) => name.startsWith("STOWAGE_"));

  it("are all that the source reads", () => {
    expect(namesIn(sources, /\b(STOWAGE_[A-Z0-9_]*[A-Z0-9])\b/g)).toEqual(known.toSorted());
  });

  it("are all that docs/using.md explains", () => {
    expect(namesIn(using, /^\|[^|]*`(STOWAGE_[A-Z0-9_]+)`[^|]*\|/gm)).toEqual(known.toSorted());
  });
});

describe("warnOfUnknown", () => {
  it.each([
    ["STOWAGE_STROE", "STOWAGE_STORE"],
    ["STOWAGE_MAX_BODY_BYTE", "STOWAGE_MAX_BODY_BYTES"],
    ["STOWAGE_ANONYMUS_PULL", "STOWAGE_ANONYMOUS_PULL"],
    ["STOWAGE_TOKNE", "STOWAGE_TOKEN"],
    ["STOWAGE_PORT", "PORT"],
    ["STOWAGE_HOST", "HOST"],
  ])("names for %s the nearest, %s", (name, nearest) => {
    expect(warnOfUnknown({ [name]: "x" })).toEqual([`there is no setting ${name}, did you mean ${nearest}?`]);
  });

  it("names none for what is like none", () => {
    expect(warnOfUnknown({ STOWAGE_COLOUR_OF_THE_MOON: "blue" })).toEqual([
      "there is no setting STOWAGE_COLOUR_OF_THE_MOON",
    ]);
  });

  it("says nothing of settings, of others' variables, and of those that Kubernetes makes of a service", () => {
    const env = { STOWAGE_STORE: "memory:", AWS_REGION: "x", PATH: "/bin", STOWAGE_TEST_SEED: "1" };
    const links = {
      STOWAGE_SERVICE_HOST: "10.0.0.1",
      STOWAGE_SERVICE_PORT_HTTP: "80",
      STOWAGE_PORT: "tcp://10.0.0.1:80",
      STOWAGE_PORT_80_TCP_ADDR: "10.0.0.1",
    };
    expect(warnOfUnknown({ ...env, ...links })).toEqual([]);
  });
});

describe("parseConfig's warnings", () => {
  const warningsOf = (...args: Parameters<typeof parseConfig>): readonly string[] => parseConfig(...args).warnings;

  it("are none where all is as usual", () => {
    expect(warningsOf({})).toEqual([]);
    expect(warningsOf({ HOST: "127.0.0.1", STOWAGE_STOP_SECONDS: "2m", STOWAGE_TOKENS: "" })).toEqual([]);
    const s3 = { STOWAGE_STORE: "s3://bucket", STOWAGE_REDIRECT_BLOBS: "true" };
    expect(warningsOf({ ...s3, STOWAGE_PUBLIC_ENDPOINT_URL_S3: "https://s3.example" })).toEqual([]);
  });

  it.each([
    [{ STOWAGE_TOKENS: "[]" }, /^STOWAGE_TOKENS is an empty list: nobody may do anything, /],
    [{ STOWAGE_TOKENS: "[]", STOWAGE_ANONYMOUS_PULL: "true" }, /an empty list: everybody may pull, /],
    [{ STOWAGE_TOKEN: "secret" }, /^STOWAGE_TOKEN does nothing here: .*STOWAGE_TOKENS says/],
    [{ STOWAGE_TOKEN_AUDIENCE: "secret" }, /^STOWAGE_TOKEN_AUDIENCE does nothing here: .*STOWAGE_TOKENS says/],
    [{ STOWAGE_REDIRECT_BLOBS: "true" }, /^STOWAGE_REDIRECT_BLOBS does nothing: file:\.\/data is no bucket of S3/],
    [
      { STOWAGE_STORE: "s3://b", STOWAGE_REDIRECT_BLOBS: "true", STOWAGE_PUBLIC_ENDPOINT_URL_S3: "none" },
      /^STOWAGE_REDIRECT_BLOBS does nothing: STOWAGE_PUBLIC_ENDPOINT_URL_S3 is none/,
    ],
    [{ STOWAGE_PUBLIC_ENDPOINT_URL_S3: "none" }, /^STOWAGE_PUBLIC_ENDPOINT_URL_S3 does nothing: file:/],
    [{ STOWAGE_STORR: "memory:" }, /^there is no setting STOWAGE_STORR, did you mean STOWAGE_STORE\?$/],
  ])("name what does nothing: %j", (env, warning) => {
    expect(warningsOf(env)).toEqual([expect.stringMatching(warning)]);
    expect(warningsOf(env).join()).not.toContain("secret");
  });

  it("name what does nothing on the platform, if it is set", () => {
    const options = { ignores: ["PORT", "HOST"] };
    expect(warningsOf({ PORT: "80", HOST: "" }, options)).toEqual(["PORT does nothing on this platform"]);
  });
});
