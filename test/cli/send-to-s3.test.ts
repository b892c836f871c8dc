import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ListObjectsV2Command } from "@aws-sdk/client-s3";
import { beforeAll, expect, it } from "vitest";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { type S3Server, describeS3Servers } from "../servers/s3-servers.ts";
import { randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { newFolder, serveStowage, startCommand, stowage, until } from "../support/run-stowage.ts";
import { startProxy } from "./faulty-proxy.ts";

/** More than a service wants in one request: 10 parts of 8 MiB. */
const image = makeLayout({ layers: [randomBytes(75 * 1024 * 1024, 5)], name: "docker.io/team/app:1" });

await describeS3Servers("stowage load --to a service", (server) => {
  beforeAll(async () => makeTestBucket(createS3Client(s3Environment(server))));

  it("sends the parts to the bucket itself, and goes on there after it was killed", async () => {
    const prefix = `cli/${crypto.randomUUID()}`;
    let isKilled = false;
    const bucket = await startProxy(server.endpoint, (_, { seen }) =>
      seen.length > 4 && !isKilled ? "stall" : undefined,
    );
    const service = await serveStowage(["--store", `s3://${testBucket}/${prefix}`], {
      ...s3Environment(server),
      STOWAGE_PUBLIC_ENDPOINT_URL_S3: bucket.url,
    });
    const path = join(await newFolder(), "app.tar");
    await writeFile(path, await tarOf(image));

    const first = await startCommand(["load", path, "--to", service.url]);
    await until(() => (bucket.taken("PUT", /./).length === 4 ? true : undefined));
    first.kill("SIGKILL");
    expect((await first.outcome).code).toBe(null);
    isKilled = true;

    const url = service.url.replace("//", "//ci:password@");
    const { code, stdout, stderr } = await stowage(["load", path, "--to", url]);
    expect(stderr).toMatch(/\n4 of 10 parts are there from before: /);
    expect(stdout).toContain(`team/app:1  created\n  digest  ${image.digest}\n`);
    expect(code).toBe(0);
    expect(bucket.taken("PUT", /./)).toHaveLength(10);
    expect(bucket.seen.filter(({ authorization }) => authorization !== undefined)).toEqual([]);
    expect(await listParts(server, prefix)).toEqual([]);
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
  });
});

async function listParts(server: S3Server, prefix: string): Promise<readonly string[]> {
  const input = { Bucket: testBucket, Prefix: `${prefix}/staging/` };
  const { Contents = [] } = await createS3Client(s3Environment(server)).send(new ListObjectsV2Command(input));
  return Contents.flatMap(({ Key = "" }) => (/\/\d+$/.test(Key) ? [Key] : []));
}
