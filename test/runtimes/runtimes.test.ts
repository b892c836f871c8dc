/** The same behaviours on every runtime, against the service started for real, and a table of what became of them. */
import process from "node:process";
import { ListMultipartUploadsCommand, ListObjectsV2Command, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, it } from "vitest";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { type S3Server, findS3Server } from "../servers/s3-servers.ts";
import { type Issuer, startIssuer } from "../support/issuer.ts";
import { describeIfFound } from "../support/requirement.ts";
import { missingTools } from "../tools/find-tool.ts";
import type { Service } from "../tools/start-service.ts";
import { behaviours } from "./behaviours.ts";
import { type RuntimeUnderTest, runtimes, startRuntime } from "./start-runtime.ts";
import { type Behaviour, type Bucket, type Trial, ruleOf, settings } from "./trial.ts";

type Outcome = "yes" | "NO" | "–";

const s3Server = await findS3Server("seaweedfs");
/** By runtime and behaviour; what was not run is not in it. */
const outcomes = new Map<string, Map<Behaviour, Outcome>>();

afterAll(() => void process.stdout.write(`\n${table()}\n`));

for (const runtime of runtimes) {
  const missing = [
    ...missingTools([runtime.tool]),
    ...(runtime.store === "S3" && typeof s3Server === "string" ? [s3Server] : []),
  ];
  describeIfFound(`the service on ${runtime.name}`, missing, () => {
    let service: Service;
    let issuer: Issuer;
    let trial: Trial;
    const results = new Map<Behaviour, Outcome>();
    outcomes.set(runtime.name, results);

    beforeAll(async () => {
      const bucket = runtime.store === "S3" && typeof s3Server !== "string" ? await openBucket(s3Server) : undefined;
      issuer = await startIssuer();
      const STOWAGE_OIDC = JSON.stringify([ruleOf(issuer)]);
      service = await startRuntime(runtime, { ...settings, STOWAGE_OIDC, ...storeSettings(bucket) });
      trial = { log: service.output, url: service.answer, maxRequestBytes: runtime.maxRequestBytes, bucket, issuer };
    });
    afterAll(async () => {
      await service?.stop();
      await issuer?.close();
    });

    for (const behaviour of behaviours) {
      if (!appliesTo(behaviour, runtime)) {
        results.set(behaviour, "–");
        continue;
      }
      it(behaviour.name, { timeout: 120_000 }, async () => {
        results.set(behaviour, "NO");
        await behaviour.run(trial).catch((error: unknown) => {
          if (error instanceof Error) error.message += `\n\nThe service said:\n${service.output().slice(-2000)}`;
          throw error;
        });
        results.set(behaviour, "yes");
      });
    }
  });
}

function appliesTo({ only, except = [] }: Behaviour, { name }: RuntimeUnderTest): boolean {
  return (only === undefined || only.includes(name)) && !except.includes(name);
}

/** A prefix of its own in the tests' bucket. */
async function openBucket(server: S3Server): Promise<Bucket> {
  const client = createS3Client(s3Environment(server));
  await makeTestBucket(client);
  const prefix = `runtimes/${crypto.randomUUID()}`;
  const within = { Bucket: testBucket, Prefix: `${prefix}/` };
  return {
    name: testBucket,
    prefix,
    async keys() {
      const { Contents = [] } = await client.send(new ListObjectsV2Command(within));
      return Contents.map(({ Key = "" }) => Key.slice(prefix.length + 1)).toSorted();
    },
    async openUploads() {
      return (await client.send(new ListMultipartUploadsCommand(within))).Uploads?.length ?? 0;
    },
    async put(key, bytes) {
      await client.send(new PutObjectCommand({ Bucket: testBucket, Key: `${prefix}/${key}`, Body: bytes }));
    },
  };
}

function storeSettings(bucket: Bucket | undefined): Readonly<Record<string, string>> {
  if (bucket === undefined || typeof s3Server === "string") return { STOWAGE_STORE: "r2:IMAGES/images" };
  return { ...s3Environment(s3Server), STOWAGE_STORE: `s3://${bucket.name}/${bucket.prefix}` };
}

function table(): string {
  const rows = [
    ["", ...runtimes.map(({ name }) => name)],
    ...behaviours.map((behaviour) => [
      behaviour.name,
      ...runtimes.map(({ name }) => outcomes.get(name)?.get(behaviour) ?? "not run"),
    ]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
