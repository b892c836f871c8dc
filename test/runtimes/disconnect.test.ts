import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { ListMultipartUploadsCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import { describe, expect, it } from "vitest";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { listFiles, newFolder, serveStowage, until } from "../support/run-stowage.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { ustarHeader } from "../support/ustar-header.ts";

const gibibyte = 2 ** 30;
const digest = sha256(Buffer.from("bytes that never come"));
/** Sent of the layer before the client goes away: several parts. */
const sentMiB = 48;

/** An upload of a layer of 1 GiB that comes no further than the first part of it. */
interface Upload {
  /** Resolves once this much has been taken. */
  readonly sent: Promise<void>;
  disconnect(): void;
}

function beginUpload(url: string): Upload {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => undefined);
  socket.write(`PUT /v1/load/big:1 HTTP/1.1\r\nHost: ${hostname}\r\nContent-Length: ${gibibyte + 10_240}\r\n\r\n`);
  socket.write(ustarHeader(`blobs/sha256/${digest.slice("sha256:".length)}`, gibibyte));
  const chunk = randomBytes(2 ** 20);
  const send = async (): Promise<void> => {
    for (let i = 0; i < sentMiB; i++) await new Promise((resolve) => socket.write(chunk, resolve));
  };
  return { sent: send(), disconnect: () => socket.destroy() };
}

function residentMiB(pid: number): number {
  const [, kibibytes = ""] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kibibytes) / 1024;
}

async function expectHealthy(url: string): Promise<void> {
  const body = await tarOf(makeLayout({ name: "after:1" }));
  expect((await fetch(`${url}/v1/load`, { method: "PUT", body })).ok).toBe(true);
}

await describeS3Servers("a client that goes away in the middle of a layer, with its images", (server) => {
  it("leaves no multipart upload, no object and no memory held", { timeout: 120_000 }, async () => {
    const client = createS3Client(s3Environment(server));
    await makeTestBucket(client);
    const prefix = `gone/${crypto.randomUUID()}`;
    const openUploads = async (): Promise<number> => {
      const answer = await client.send(new ListMultipartUploadsCommand({ Bucket: testBucket, Prefix: `${prefix}/` }));
      return answer.Uploads?.length ?? 0;
    };
    const service = await serveStowage(["--store", `s3://${testBucket}/${prefix}`], s3Environment(server));
    for (let round = 0; round < 4; round++) {
      const upload = beginUpload(service.url);
      await until(async () => ((await openUploads()) === 1 ? true : undefined));
      if (round % 2 === 0) await upload.sent;
      upload.disconnect();
      await until(async () => ((await openUploads()) === 0 ? true : undefined));
    }
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: testBucket, Prefix: `${prefix}/` }));
    expect(Contents.map(({ Key }) => Key)).toEqual([`${prefix}/oci-layout`]);
    expect(residentMiB(service.pid)).toBeLessThan(300);
    await expectHealthy(service.url);
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
  });
});

describe("a client that goes away in the middle of a layer, with its images in a directory", () => {
  it("leaves no temporary file", { timeout: 60_000 }, async () => {
    const folder = await newFolder();
    const service = await serveStowage(["--store", `file:${folder}`]);
    const temporary = async (): Promise<string[]> => listFiles(join(folder, ".stowage/tmp"));
    for (let round = 0; round < 4; round++) {
      const upload = beginUpload(service.url);
      await until(async () => ((await temporary()).length === 1 ? true : undefined));
      if (round % 2 === 0) await upload.sent;
      upload.disconnect();
      await until(async () => ((await temporary()).length === 0 ? true : undefined));
    }
    expect(await listFiles(folder)).toEqual(["oci-layout"]);
    await expectHealthy(service.url);
    service.kill("SIGTERM");
    const { stdout, ...outcome } = await service.outcome;
    expect(outcome).toEqual({ code: 0, stderr: "" });
    const lines = stdout.split("\n").filter((line) => line.includes(" PUT /v1/load/big:1 "));
    expect(lines.map((line) => line.slice(line.indexOf(" ") + 1, line.indexOf(" (")))).toEqual(
      Array(4).fill("anyone PUT /v1/load/big:1 499: the client went away"),
    );
  });
});
