/** Tests against real S3 servers: each of SeaweedFS, VersityGW and Ceph that this machine has, or those that are no use. */
import { inject } from "vitest";
import { isJsonObject } from "../../src/oci/json.ts";
import { describeIfFound } from "../support/requirement.ts";

export interface S3Server {
  readonly name: string;
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export const s3ServerNames = ["seaweedfs", "versitygw", "ceph"] as const;

/** Servers that do not keep the conditions of writes: no store for Stowage. */
export const carelessServerNames = ["fauxqs", "s3rver", "moto"] as const;

/** A second server with keys of its own. */
export const otherServerName = "versitygw-other";

type ServerName = (typeof s3ServerNames | typeof carelessServerNames)[number] | typeof otherServerName;

/**
 * `describe` for each of the servers, `title` followed by its name. One that is not installed is skipped, or a failure,
 * as `describeIfFound` decides. The servers are shared by the test files: make a bucket, or a prefix, of your own.
 */
export async function describeS3Servers(
  title: string,
  tests: (server: S3Server) => void,
  names: readonly ServerName[] = s3ServerNames,
): Promise<void> {
  const answers = await Promise.all(names.map(findS3Server));
  for (const [i, answer] of answers.entries()) {
    const missing = typeof answer === "string" ? [answer] : [];
    describeIfFound(`${title} on ${names[i]}`, missing, () => {
      if (typeof answer !== "string") tests(answer);
    });
  }
}

/** Starts a server, unless it runs; returns why it cannot be had where it cannot. */
export async function findS3Server(name: ServerName): Promise<S3Server | string> {
  const response = await fetch(`${inject("serverBroker")}/${name}`);
  const answer: unknown = await response.json();
  if (isJsonObject(answer)) {
    const { missing, endpoint, accessKeyId, secretAccessKey } = answer;
    if (typeof missing === "string") return missing;
    if (typeof endpoint === "string" && typeof accessKeyId === "string" && typeof secretAccessKey === "string") {
      return { name, endpoint, accessKeyId, secretAccessKey };
    }
  }
  throw new Error(`Cannot use ${name}: found ${JSON.stringify(answer)}, expected where it serves`);
}
