/** Stores on a real S3 server, each with and without harm on the way. */
import { StowageError } from "../../src/errors.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { S3Store } from "../../src/storage/s3/s3-store.ts";
import { makeS3Store, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import type { S3Server } from "../servers/s3-servers.ts";
import { type Fault, type FaultProxy, startFaultProxy } from "./fault-proxy.ts";

/** Parts to another machine are signed. Linux connects this address to this machine, but it does not look like this machine. */
const farHost = "0.0.0.0";

interface HarmedStore {
  /** The store without harm. */
  readonly store: S3Store;
  /** The store through the proxy. */
  readonly harmed: S3Store;
}

export interface StoreBench extends HarmedStore {
  readonly proxy: FaultProxy;
  /** The next requests get these faults. */
  choose: (number: number) => Fault | undefined;
  /** Another store behind the same proxy. */
  open(): Promise<HarmedStore>;
}

/** `answerMs` is how long a request waits for an answer. */
export async function openStoreBench(server: S3Server, answerMs?: number): Promise<StoreBench> {
  const bench: { choose: StoreBench["choose"] } = { choose: () => undefined };
  const proxy = await startFaultProxy(Number(new URL(server.endpoint).port), (number) => bench.choose(number));
  const env = { ...s3Environment(server), AWS_ENDPOINT_URL_S3: `http://${farHost}:${proxy.port}` };
  const client = createS3Client(env, { answerMs });
  const open = async (): Promise<HarmedStore> => {
    const store = await makeS3Store(server);
    const prefix = store.url.slice(`s3://${testBucket}/`.length);
    return { store, harmed: new S3Store({ client, bucket: testBucket, prefix }) };
  };
  return Object.assign(bench, { ...(await open()), proxy, open });
}

/** False for what may be said of a store that fails. Throws everything else. */
export function isUnavailable(error: unknown): false {
  const isExpected = error instanceof StowageError && ["STORE_UNAVAILABLE", "COMMIT_CONFLICT"].includes(error.code);
  if (!isExpected) throw error;
  return false;
}
