/** docs/using.md, "Push": what to do where the platform takes only short bodies, such as Lambda. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { runtimes, startRuntime } from "../runtimes/start-runtime.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { findS3Server } from "../servers/s3-servers.ts";
import { randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder, stowage } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { digestAt, pullBack } from "../tools/push-clients.ts";
import { unpack } from "../tools/read-image.ts";
import { runShell } from "../tools/run-tool.ts";

const server = await findS3Server("versitygw");
const lambda = runtimes.find(({ name }) => name === "lambda");
const missing = [
  ...missingTools(["bash", "crane", "regctl", "tar", "node24"]),
  ...(typeof server === "string" ? [server] : []),
];

describeIfFound("a layer of 9 MiB, for a function that takes 4.5 MB", missing, () => {
  if (typeof server === "string" || lambda === undefined) return;
  let host: string;

  beforeAll(async () => {
    await makeTestBucket(createS3Client(s3Environment(server)));
    const store = `s3://${testBucket}/limits/${crypto.randomUUID()}`;
    const settings = { ...s3Environment(server), STOWAGE_STORE: store, STOWAGE_ALLOW_ANYONE: "true" };
    const { answer, stop } = await startRuntime(lambda, settings);
    ({ host } = new URL(answer));
    return stop;
  });

  /** Runs a line that sends an image, of which nothing is there. It lies in `app.tar`, and unpacked in `app`. */
  async function send(name: string, seed: number, line: (folder: string) => Promise<unknown>): Promise<void> {
    const image = makeLayout({ layers: [randomBytes(9 * 1024 * 1024, seed)], refName: "1.4" });
    const folder = await newFolder();
    await writeFile(join(folder, "app.tar"), await tarOf(image));
    await unpack(join(folder, "app.tar"), join(folder, "app"));
    await line(folder);
    const target = { host, name, tag: "1.4" };
    expect(await digestAt(target)).toBe(image.digest);
    expect(await pullBack(target, "crane", folder)).toEqual(expect.arrayContaining([...image.blobs.keys()]));
  }

  const inShell = (script: string) => async (cwd: string) => {
    return runShell(script, { cwd, env: { HOST: host, REGCTL_CONFIG: join(cwd, "regctl.json") } });
  };

  it("cannot be pushed by crane, which shows the status of the platform", async () => {
    const push = send("crane/app", 1, inShell("crane push app $HOST/crane/app:1.4"));
    await expect(push).rejects.toThrow("413 Request Entity Too Large");
    expect(await digestAt({ host, name: "crane/app", tag: "1.4" })).toBe(undefined);
  });

  it("is pushed by regctl that is told to send chunks", async () => {
    const script = `
      regctl registry set --tls disabled --blob-chunk 4194304 --blob-max 4194304 $HOST
      regctl image copy ocidir://app:1.4 $HOST/chunks/app:1.4
    `;
    await send("chunks/app", 2, inShell(script));
  });

  it("is pushed by regctl that finds out by itself", async () => {
    const script = "regctl --host reg=$HOST,tls=disabled image copy ocidir://app:1.4 $HOST/itself/app:1.4";
    await send("itself/app", 3, inShell(script));
  });

  it("is sent by stowage load --to", async () => {
    await send("loaded/app", 4, async (folder) => {
      const args = ["load", join(folder, "app.tar"), "loaded/app:1.4", "--to", `http://${host}`];
      expect(await stowage(args)).toMatchObject({ code: 0 });
    });
  });
});
