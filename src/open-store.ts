/** Opens the store that a URL names. Only the code of that store is loaded: the AWS SDK takes a quarter of a second. */
import type { Environment } from "./config.ts";
import { StowageError } from "./errors.ts";
import { guardStore } from "./storage/guard-store.ts";
import type { ObjectStore } from "./storage/object-store.ts";

/**
 * Opens a store by its URL:
 *
 *     file:./data            a directory, made when it is first written to
 *     s3://bucket/prefix     a bucket; endpoint, region and credentials are the AWS SDK's own settings
 *     memory:                nothing is kept
 *
 * Nothing is written into a store before it has passed the probe (`storage/guard-store.ts`). Throws `INPUT_INVALID` for
 * any other URL.
 */
export async function openStore(url: string, env: Environment): Promise<ObjectStore> {
  return guardStore(await openUnguarded(url, env));
}

async function openUnguarded(url: string, env: Environment): Promise<ObjectStore> {
  const [, scheme = "", rest = ""] = /^([a-z0-9]+):(.*)$/s.exec(url) ?? [];
  switch (scheme) {
    case "file": {
      const { DirectoryStore } = await import("./storage/directory-store.ts");
      return new DirectoryStore(rest.replace(/^\/\/(?=\/)/, ""));
    }
    case "s3": {
      const [, bucket = "", prefix = ""] = /^\/\/([^/]+)(?:\/(.*?)\/*)?$/.exec(rest) ?? [];
      if (bucket === "") break;
      const { createS3Client } = await import("./storage/s3-client.ts");
      const { S3Store } = await import("./storage/s3-store.ts");
      return new S3Store({ client: createS3Client(env), bucket, prefix });
    }
    case "memory": {
      const { MemoryStore } = await import("./storage/memory-store.ts");
      return new MemoryStore();
    }
    default:
  }
  throw new StowageError(
    "INPUT_INVALID",
    `Cannot open the store ${JSON.stringify(url)}: expected file:<directory>, s3://<bucket>[/<prefix>] or memory:`,
  );
}
