import { createHash, randomBytes } from "node:crypto";
import { PutObjectCommand, UploadPartCommand } from "@aws-sdk/client-s3";
import { describe, expect, it } from "vitest";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";

const keys = { AWS_ACCESS_KEY_ID: "key", AWS_SECRET_ACCESS_KEY: "secret" };
const body = randomBytes(1000);
const digest = createHash("sha256").update(body).digest();
const target = { Bucket: "bucket", Key: "a/b" };

describe("createS3Client", () => {
  it("addresses an endpoint of one's own path-style, in us-east-1", async () => {
    const env = { ...keys, AWS_ENDPOINT_URL: "http://127.0.0.1:1", AWS_ENDPOINT_URL_S3: "http://127.0.0.1:9/s3" };
    const sent = await sentBy(env, new PutObjectCommand({ ...target, Body: body }));
    expect(sent).toMatchObject({ protocol: "http:", hostname: "127.0.0.1", port: 9, path: "/s3/bucket/a/b" });
    expect(sent.headers["authorization"]).toContain("/us-east-1/s3/");
  });

  it("addresses AWS by the bucket's name, in the region it is given", async () => {
    const env = { ...keys, AWS_SESSION_TOKEN: "token", AWS_REGION: "eu-central-1" };
    const sent = await sentBy(env, new PutObjectCommand({ ...target, Body: body }));
    expect(sent).toMatchObject({ hostname: "bucket.s3.eu-central-1.amazonaws.com", path: "/a/b" });
    expect(sent.headers).toMatchObject({ "x-amz-security-token": "token" });
    expect(sent.headers["authorization"]).toContain("Credential=key/");
  });

  it("does not wait for 100-continue, nor send checksums that nobody asked for", async () => {
    const sent = await sentBy(
      { ...keys, AWS_REGION: "r" },
      new PutObjectCommand({ ...target, Body: randomBytes(4e6) }),
    );
    expect(Object.keys(sent.headers).filter((name) => /expect|checksum|trailer|encoding/i.test(name))).toEqual([]);
  });

  it("takes a checksum for the hash that it signs", async () => {
    const wrong = createHash("sha256").update("not hashed again").digest();
    const ChecksumSHA256 = wrong.toString("base64");
    const command = new PutObjectCommand({ ...target, Body: body, ChecksumAlgorithm: "SHA256", ChecksumSHA256 });
    const { headers } = await sentBy({ ...keys, AWS_REGION: "r" }, command);
    expect(headers["x-amz-content-sha256"]).toBe(wrong.toString("hex"));
  });

  it("leaves parts unsigned over TLS, and signs them over plain HTTP", async () => {
    const part = (): UploadPartCommand =>
      new UploadPartCommand({ ...target, UploadId: "1", PartNumber: 1, Body: body });
    const secured = await sentBy({ ...keys, AWS_ENDPOINT_URL: "https://s3.example" }, part());
    expect(secured.headers["x-amz-content-sha256"]).toBe("UNSIGNED-PAYLOAD");
    const plain = await sentBy({ ...keys, AWS_ENDPOINT_URL: "http://s3.example" }, part());
    expect(plain.headers["x-amz-content-sha256"]).toBe(digest.toString("hex"));
  });

  it("passes on a trace without signing it, because a proxy may change it", async () => {
    const traces = ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", undefined];
    const env = { ...keys, AWS_REGION: "r" };
    const command = (): PutObjectCommand => new PutObjectCommand({ ...target, Body: body });
    const traced = await sentBy(env, command(), () => traces[0]);
    expect(traced.headers["traceparent"]).toBe(traces[0]);
    expect(traced.headers["authorization"]).toMatch(/SignedHeaders=[^,]*host/);
    expect(traced.headers["authorization"]).not.toContain("traceparent");
    const untraced = await sentBy(env, command(), () => traces[1]);
    expect(Object.keys(untraced.headers)).not.toContain("traceparent");
  });
});

interface SentRequest {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** The request as it would go out, signed; it goes nowhere. */
async function sentBy(
  env: Readonly<Record<string, string>>,
  command: PutObjectCommand | UploadPartCommand,
  traceparent?: () => string | undefined,
): Promise<SentRequest> {
  const client = createS3Client(env, { traceparent });
  let sent: SentRequest | undefined;
  client.middlewareStack.add(
    () => (args) => {
      sent = args.request as SentRequest;
      return Promise.reject(new Error("caught"));
    },
    { step: "finalizeRequest", priority: "low" },
  );
  await (command instanceof PutObjectCommand ? client.send(command) : client.send(command)).catch(() => undefined);
  if (sent === undefined) throw new Error("Cannot see the request: nothing was sent");
  return sent;
}
