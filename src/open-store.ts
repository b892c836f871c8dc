/** Opens the store of a URL. Loads only the code for that kind of store: loading the AWS SDK takes 0.25 s. */
import { StowageError } from "./errors.ts";
import { type Settings, variablesOf } from "./settings/settings.ts";
import type { ObjectStore } from "./storage/object-store.ts";

/** How a store is opened. */
export interface OpenStoreOptions {
  /** Parts of one large blob that go to S3 at the same time. Fewer take less memory. */
  readonly queueSize?: number | undefined;
}

/**
 * Opens a store by its URL:
 *
 *     file:./data            a directory, made by the first write
 *     s3://bucket/prefix     a bucket; the AWS SDK's settings have endpoint, region and credentials
 *     r2:BINDING/prefix      a bucket of R2, bound to the Worker under this name
 *     memory:                lost when the process ends
 *
 * Throws `INPUT_INVALID` for any other URL.
 */
export async function openStore(
  url: string,
  settings: Settings,
  { queueSize }: OpenStoreOptions = {},
): Promise<ObjectStore> {
  const [, scheme = "", rest = ""] = /^([a-z0-9]+):(.*)$/s.exec(url) ?? [];
  switch (scheme) {
    case "file": {
      const { DirectoryStore } = await import("./storage/directory/directory-store.ts");
      return new DirectoryStore(rest.replace(/^\/\/(?=\/)/, ""));
    }
    case "s3": {
      const [, bucket = "", prefix = ""] = /^\/\/([^/]+)(?:\/(.*?)\/*)?$/.exec(rest) ?? [];
      if (bucket === "") break;
      const { createS3Client } = await import("./storage/s3/s3-client.ts");
      const { createPresignClient } = await import("./storage/s3/s3-presigner.ts");
      const { S3Store } = await import("./storage/s3/s3-store.ts");
      const env = variablesOf(settings);
      const [client, presignClient] = [createS3Client(env), createPresignClient(env)];
      return new S3Store({ client, bucket, prefix, presignClient, queueSize });
    }
    case "r2": {
      const [, binding = "", prefix = ""] = /^([^/]+)(?:\/(.*))?$/.exec(rest) ?? [];
      const { isR2Bucket } = await import("./storage/r2/r2-bucket.ts");
      const { R2Store } = await import("./storage/r2/r2-store.ts");
      const bucket = settings[binding];
      if (isR2Bucket(bucket)) return new R2Store({ bucket, binding, prefix });
      throw new StowageError(
        "INPUT_INVALID",
        `Cannot open the store ${JSON.stringify(url)}: found no bucket of R2 bound to the name "${binding}", ` +
          "expected one as in wrangler.toml; only a Cloudflare Worker has bindings",
      );
    }
    case "memory": {
      const { MemoryStore } = await import("./storage/memory-store.ts");
      return new MemoryStore();
    }
    default:
  }
  throw new StowageError(
    "INPUT_INVALID",
    `Cannot open the store ${JSON.stringify(url)}: expected file:<directory>, s3://<bucket>[/<prefix>], r2:<binding>[/<prefix>] or memory:`,
  );
}
