import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { openStore } from "../src/open-store.ts";
import { createS3Client } from "../src/storage/s3/s3-client.ts";
import { makeTestBucket, s3Environment, testBucket } from "./servers/s3-bucket.ts";
import { type S3Server, findS3Server, otherServerName } from "./servers/s3-servers.ts";
import { creating } from "./storage/copy-contract.ts";
import { expectSame, read, source } from "./storage/contract-objects.ts";
import { describeIfFound } from "./support/requirement.ts";

const keys = { AWS_ACCESS_KEY_ID: "environment", AWS_SECRET_ACCESS_KEY: "secret" };

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "stowage-open-store-"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

/** Makes these lines the AWS SDK's file of profiles. The process has no keys. */
async function writeProfiles(...lines: readonly string[]): Promise<void> {
  const file = join(folder, "config");
  await writeFile(file, `${lines.join("\n")}\n`);
  vi.stubEnv("AWS_CONFIG_FILE", file);
  vi.stubEnv("AWS_SHARED_CREDENTIALS_FILE", join(folder, "none"));
  for (const name of ["AWS_PROFILE", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]) {
    vi.stubEnv(name, undefined);
  }
}

const profiles = (...names: readonly string[]): readonly string[] =>
  names.flatMap((name) => [
    `[profile ${name}]`,
    `region = region-of-${name}`,
    `aws_access_key_id = ${name}`,
    `aws_secret_access_key = ${name}-secret`,
  ]);

/** Where a store of this URL sends its requests, with which key and for which region. */
async function reachOf(url: string, env: Readonly<Record<string, string>>): Promise<readonly string[]> {
  const store = await openStore(url, env);
  const signed = new URL((await store.presigner?.presignGet("key", { seconds: 60 })) ?? "");
  const [keyId = "", , region = ""] = (signed.searchParams.get("X-Amz-Credential") ?? "").split("/");
  expect(await store.copySource?.service()).toBe(signed.host.endsWith(".amazonaws.com") ? "aws" : signed.host);
  return [signed.origin + signed.pathname, keyId, region];
}

describe("openStore", () => {
  it("takes from the environment what the URL of a bucket does not say", async () => {
    const env = { ...keys, AWS_REGION: "eu-north-1", AWS_ENDPOINT_URL_S3: "http://127.0.0.1:9" };
    const tries = [
      ["s3://my-bucket/p", "http://127.0.0.1:9/my-bucket/p/key", "eu-north-1"],
      ["s3://my-bucket/p?region=auto", "http://127.0.0.1:9/my-bucket/p/key", "auto"],
      ["s3://my-bucket/p/?endpoint=https://s3.example.com", "https://s3.example.com/my-bucket/p/key", "eu-north-1"],
      [
        "s3://my-bucket?endpoint=https%3A%2F%2Fs3.example.com%3A9000&region=x",
        "https://s3.example.com:9000/my-bucket/key",
        "x",
      ],
    ] as const;
    for (const [url, address, region] of tries) {
      expect(await reachOf(url, env), url).toEqual([address, "environment", region]);
    }
    expect(await reachOf("s3://my-bucket?region=eu-west-1", keys)).toEqual([
      "https://my-bucket.s3.eu-west-1.amazonaws.com/key",
      "environment",
      "eu-west-1",
    ]);
  });

  it("gives each URL the credentials and the region of its profile", async () => {
    await writeProfiles(...profiles("work", "home"));
    vi.stubEnv("AWS_ACCESS_KEY_ID", "environment");
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", "secret");
    const warn = vi.spyOn(console, "warn");
    expect(await reachOf("s3://my-bucket?profile=work", keys)).toEqual([
      "https://my-bucket.s3.region-of-work.amazonaws.com/key",
      "work",
      "region-of-work",
    ]);
    expect(await reachOf("s3://my-bucket?region=x&profile=home", keys)).toEqual([
      "https://my-bucket.s3.x.amazonaws.com/key",
      "home",
      "x",
    ]);
    expect(warn).not.toHaveBeenCalled();
  });

  it("does not take the endpoint of another profile", async () => {
    await writeProfiles("[default]", "endpoint_url = http://127.0.0.1:9", ...profiles("work"));
    expect((await reachOf("s3://my-bucket?profile=work", {}))[0]).toBe(
      "https://my-bucket.s3.region-of-work.amazonaws.com/key",
    );
  });

  it.each([
    ["s3://my-bucket/p?secret=hidden", 'its URL has the parameter "secret", expected only profile, region, endpoint'],
    ["s3://my-bucket/p?Region=hidden", 'its URL has the parameter "Region", expected only profile, region, endpoint'],
    ["s3://my-bucket/p?region=x&region=hidden", 'its URL has the parameter "region" twice, expected it once'],
    ["s3://my-bucket/p?profile=", 'the parameter "profile" of its URL cannot be used, expected a name'],
    [
      "s3://my-bucket/p?region=hidden/",
      'the parameter "region" of its URL cannot be used, expected a name such as eu-west-1',
    ],
    ...["hidden", "s3://hidden", "https://hidden:x@host", "https://host/?hidden", ""].map((endpoint) => [
      `s3://my-bucket/p?endpoint=${endpoint}`,
      'the parameter "endpoint" of its URL cannot be used, expected a URL such as https://s3.example.com',
    ]),
  ])("refuses %s, and repeats no value", async (url, problem) => {
    await expect(openStore(url, keys)).rejects.toMatchObject({
      code: "INPUT_INVALID",
      message: `Cannot open the store "s3://my-bucket/p": ${problem}`,
    });
  });

  it("refuses a profile on a platform without files", async () => {
    await expect(openStore("s3://my-bucket?profile=work", keys, { hasProfiles: false })).rejects.toMatchObject({
      code: "INPUT_INVALID",
      message:
        'Cannot open the store "s3://my-bucket": its URL names a profile, and this platform has no files with profiles',
    });
  });

  it("names a store by its URL, of whose parameters only the endpoint's host is left", async () => {
    const env = { ...keys, AWS_REGION: "eu-north-1" };
    const names = [
      ["s3://my-bucket/p?region=x&profile=work", "s3://my-bucket/p"],
      ["s3://my-bucket/p/?region=x&endpoint=http://127.0.0.1:9000/", "s3://my-bucket/p?endpoint=127.0.0.1:9000"],
      ["s3://my-bucket?endpoint=https://s3.example.com", "s3://my-bucket?endpoint=s3.example.com"],
    ] as const;
    for (const [url, name] of names) expect((await openStore(url, env)).url).toBe(name);
  });
});

const [one, other] = [await findS3Server("versitygw"), await findS3Server(otherServerName)];
const missing = [one, other].filter((server) => typeof server === "string");
describeIfFound("openStore with two servers", missing, () => {
  if (typeof one === "string" || typeof other === "string") return;

  it("carries bytes from one to the other, each with the credentials of its own profile", async () => {
    await writeProfiles(...profileOf("one", one), ...profileOf("other", other));
    for (const server of [one, other]) await makeTestBucket(createS3Client(s3Environment(server)));
    const path = `s3://${testBucket}/tests/${crypto.randomUUID()}`;
    const from = await openStore(`${path}?endpoint=${one.endpoint}&profile=one`, {});
    const to = await openStore(`${path}?endpoint=${other.endpoint}&profile=other`, {});
    expect(from.url).not.toBe(to.url);

    const bytes = randomBytes(7_000_000);
    await from.write("layer", source(bytes));
    expect(await to.copyFrom?.(from, "layer", "layer", creating(bytes))).toBe("refused");
    const object = await from.get("layer");
    if (object === undefined) throw new Error("the object is not there");
    await to.write("layer", object);
    expectSame(await read(await to.get("layer")), bytes);
    await Promise.all([from.delete("layer"), to.delete("layer")]);

    const mistaken = await openStore(`${path}?endpoint=${one.endpoint}&profile=other`, {});
    await expect(mistaken.get("layer")).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringMatching(/endpoint=127\.0\.0\.1:\d+: .*the store does not know the key/) as unknown,
    });
  });
});

function profileOf(name: string, { accessKeyId, secretAccessKey }: S3Server): readonly string[] {
  return [`[profile ${name}]`, `aws_access_key_id = ${accessKeyId}`, `aws_secret_access_key = ${secretAccessKey}`];
}
