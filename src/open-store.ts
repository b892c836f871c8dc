/** Opens the store that a URL names. Only the code of that store is loaded: the AWS SDK takes a quarter of a second. */
import { StowageError } from "./errors.ts";
import { type Settings, variablesOf } from "./settings.ts";
import { guardStore } from "./storage/guard-store.ts";
import type { ObjectStore } from "./storage/object-store.ts";

/**
 * Opens a store by its URL:
 *
 *     file:./data            a directory, made when it is first written to
 *     s3://bucket/prefix     a bucket; endpoint, region and credentials are the AWS SDK's own settings
 *     r2:BINDING/prefix      a bucket of R2, by the binding of this name that the Worker has
 *     memory:                nothing is kept
 *
 * Nothing is written into a store before it has passed the probe (`storage/guard-store.ts`). Throws `INPUT_INVALID` for
 * any other URL.
 */
export async function openStore(url: string, settings: Settings): Promise<ObjectStore> {
  return guardStore(await openUnguarded(url, settings));
}

async function openUnguarded(url: string, settings: Settings): Promise<ObjectStore> {
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
      return new S3Store({ client: createS3Client(variablesOf(settings)), bucket, prefix });
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
