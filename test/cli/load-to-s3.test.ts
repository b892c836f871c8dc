import { ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { beforeAll, expect, it } from "vitest";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { type S3Server, describeS3Servers } from "../servers/s3-servers.ts";
import { randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { startCommand, stowage, until } from "../support/run-stowage.ts";

const mebibyte = 1024 * 1024;
/** Of several parts, and more small ones than go out at a time. */
const layers = [randomBytes(40 * mebibyte), ...Array.from({ length: 50 }, (_, i) => randomBytes(1000, i + 2))];
const image = makeLayout({ layers, name: "docker.io/team/app:1.4" });

await describeS3Servers("the command line", (server) => {
  const env = s3Environment(server);

  beforeAll(async () => makeTestBucket(createS3Client(s3Environment(server))));

  it("loads into a bucket, lists and verifies it", async () => {
    const store = newStoreUrl();
    const loaded = await stowage(["load", "-", "--store", store], { env, input: await tarOf(image) });
    expect(loaded.stderr).toBe(`Loading standard input into ${store}\n`);
    expect(loaded.stdout).toContain(`team/app:1.4  created\n  digest  ${image.digest}\nBlobs: 53 written (40.1 MiB)\n`);
    const listed = await stowage(["ls", "--store", store], { env });
    expect(listed.stdout).toMatch(/^team\/app:1\.4 +40\.1 MiB +- +linux\/amd64$/m);
    const verified = await stowage(["verify", "--store", store], { env });
    expect(verified.stderr).toBe(`Verifying ${store} (40.1 MiB)\n`);
    expect(verified.stdout).toContain("1 image in 1 repository, 53 blobs (40.1 MiB)\n");
  });

  it("leaves no open upload when a load is ended by SIGTERM", async () => {
    const store = newStoreUrl();
    const running = await startCommand(["load", "-", "--store", store], { env });
    running.stdin.write((await tarOf(image)).subarray(0, 30 * mebibyte)); // and then nothing more, without an end
    await until(async () => ((await countUploads(server, store)) > 0 ? true : undefined));
    running.kill("SIGTERM");
    expect(await running.outcome).toEqual({
      code: 143,
      stdout: "",
      stderr: `Loading standard input into ${store}\nstowage load: ended by SIGTERM\n`,
    });
    expect(await countUploads(server, store)).toBe(0);
  });
});

function newStoreUrl(): string {
  return `s3://${testBucket}/cli/${crypto.randomUUID()}`;
}

async function countUploads(server: S3Server, store: string): Promise<number> {
  const input = { Bucket: testBucket, Prefix: store.slice(`s3://${testBucket}/`.length) };
  const { Uploads = [] } = await createS3Client(s3Environment(server)).send(new ListMultipartUploadsCommand(input));
  return Uploads.length;
}
