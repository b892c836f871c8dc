/** Makes URLs of the bucket (Signature Version 4). The holder of a URL can read or write one object for a while. */
import { GetObjectCommand, PutObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { StowageError } from "../../errors.ts";
import type { Presigner } from "../object-store.ts";
import { createS3Client } from "./s3-client.ts";

export class S3Presigner implements Presigner {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;

  /** The client signs for the address that clients use for the bucket. `prefix` is empty, or ends with `/`. */
  constructor(client: S3Client, bucket: string, prefix: string) {
    this.#client = client;
    this.#bucket = bucket;
    this.#prefix = prefix;
  }

  async presignGet(key: string, { seconds }: { readonly seconds: number }): Promise<string> {
    return getSignedUrl(this.#client, new GetObjectCommand(this.#at(key)), { expiresIn: seconds });
  }

  /** Signs the length, which every HTTP client sends by itself. No other header is needed. */
  async presignPut(
    key: string,
    { seconds, size }: { readonly seconds: number; readonly size: number },
  ): Promise<string> {
    const command = new PutObjectCommand({ ...this.#at(key), ContentLength: size });
    return getSignedUrl(this.#client, command, { expiresIn: seconds });
  }

  #at(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#bucket, Key: this.#prefix + key };
  }
}

/**
 * Makes the client of a presigner. If clients reach the bucket by another address than the service, that is
 * `STOWAGE_PUBLIC_ENDPOINT_URL_S3`. Undefined for `none`: clients cannot reach the bucket, and no URL is presigned.
 * Throws `INPUT_INVALID`.
 */
export function createPresignClient(env: Readonly<Record<string, string | undefined>>): S3Client | undefined {
  const { STOWAGE_PUBLIC_ENDPOINT_URL_S3: endpoint } = env;
  if (endpoint === undefined || endpoint === "") return createS3Client(env);
  if (endpoint === "none") return undefined;
  if (URL.canParse(endpoint) && /^https?:$/.test(new URL(endpoint).protocol)) {
    return createS3Client({ ...env, AWS_ENDPOINT_URL_S3: endpoint });
  }
  const expected = 'expected an address such as "https://s3.example.com", or "none"';
  throw new StowageError("INPUT_INVALID", `STOWAGE_PUBLIC_ENDPOINT_URL_S3 is ${JSON.stringify(endpoint)}, ${expected}`);
}
