/** A store of one's own on a real S3 server. */
import { CreateBucketCommand, type S3Client } from "@aws-sdk/client-s3";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { S3Store } from "../../src/storage/s3/s3-store.ts";
import type { S3Server } from "./s3-servers.ts";

/** All tests share it, each in a prefix of its own: SeaweedFS takes a while for the first write into a new bucket. */
export const testBucket = "stowage-test";

export type S3Tuning = Pick<ConstructorParameters<typeof S3Store>[0], "partBytes" | "maxParts" | "copyBytes">;

/** The environment variables with which the AWS SDK, and so a Stowage, finds the server. */
export function s3Environment({ endpoint, accessKeyId, secretAccessKey }: S3Server): Record<string, string> {
  return {
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
  };
}

/** An empty store on the server: a fresh prefix of the tests' bucket, which is made if need be. */
export async function makeS3Store(server: S3Server, tuning: S3Tuning = {}): Promise<S3Store> {
  const client = createS3Client(s3Environment(server));
  await makeTestBucket(client);
  const prefix = `tests/${crypto.randomUUID()}`;
  return new S3Store({ client, bucket: testBucket, prefix, presignClient: client, ...tuning });
}

export async function makeTestBucket(client: S3Client): Promise<void> {
  try {
    await client.send(new CreateBucketCommand({ Bucket: testBucket }));
  } catch (error) {
    const isThere = error instanceof Error && /^BucketAlready(OwnedByYou|Exists)$/.test(error.name);
    if (!isThere) throw error;
  }
}
