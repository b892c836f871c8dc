import { ListMultipartUploadsCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { inject } from "vitest";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { S3Store } from "../../src/storage/s3/s3-store.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { describeStoreContract } from "../storage/contract.ts";

const server = inject("s3Server");
if (server === undefined) throw new Error("Cannot find an S3 server: expected one from workerd.test.ts");

describeStoreContract(
  `S3Store on ${server.name} in workerd`,
  async () => {
    const client = createS3Client(s3Environment(server));
    await makeTestBucket(client);
    const prefix = `tests/${crypto.randomUUID()}`;
    const open = () => new S3Store({ client, bucket: testBucket, prefix });
    return {
      store: open(),
      neighbour: new S3Store({ client, bucket: testBucket, prefix: `tests/${crypto.randomUUID()}` }),
      reopen: open,
      leftovers: async () => {
        const input = { Bucket: testBucket, Prefix: prefix };
        const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand(input));
        return Uploads.map(({ Key }) => `multipart upload of ${Key}`);
      },
      damage: async (key, bytes) => {
        await client.send(new PutObjectCommand({ Bucket: testBucket, Key: `${prefix}/${key}`, Body: bytes }));
      },
      close: async () => {},
    };
  },
  { listedObjects: 1_010, copiesFrom: true },
);
