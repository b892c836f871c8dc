/** Opens the store of a URL. Loads only the code for that kind of store: loading the AWS SDK takes 0.25 s. */
import { StowageError } from "./errors.ts";
import { type Environment, type Settings, variablesOf } from "./settings/settings.ts";
import type { ObjectStore } from "./storage/object-store.ts";

/** How a store is opened. */
export interface OpenStoreOptions {
  /** Parts of one large blob that go to S3 at the same time. Fewer take less memory. */
  readonly maxParts?: number | undefined;
  /** Has the platform files, and so profiles of AWS? True by default. */
  readonly hasProfiles?: boolean | undefined;
  /** Returns the `traceparent` of the trace to which a request to S3 belongs (W3C Trace Context). */
  readonly traceparent?: (() => string | undefined) | undefined;
}

/**
 * Opens a store by its URL:
 *
 *     file:./data            a directory, made by the first write
 *     s3://bucket/prefix     a bucket; the AWS SDK's settings have endpoint, region and credentials, and the URL's
 *                            parameters come before them: ?profile=work&region=eu-west-1&endpoint=https://…
 *     r2:BINDING/prefix      a bucket of R2, bound to the Worker under this name
 *     memory:                lost when the process ends
 *
 * Throws `INPUT_INVALID` for any other URL.
 */
export async function openStore(
  url: string,
  settings: Settings,
  { maxParts, hasProfiles = true, traceparent }: OpenStoreOptions = {},
): Promise<ObjectStore> {
  const [, scheme = "", rest = ""] = /^([a-z0-9]+):(.*)$/s.exec(url) ?? [];
  switch (scheme) {
    case "file": {
      const { DirectoryStore } = await import("./storage/directory/directory-store.ts");
      return new DirectoryStore(rest.replace(/^\/\/(?=\/)/, ""));
    }
    case "s3": {
      const [path = "", query] = rest.split(/\?(.*)/s, 2);
      const [, bucket = "", prefix = ""] = /^\/\/([^/]+)(?:\/(.*?)\/*)?$/.exec(path) ?? [];
      const parameters = parseS3Parameters(`s3:${path}`, query, { hasProfiles });
      if (bucket === "") break;
      const { createS3Client } = await import("./storage/s3/s3-client.ts");
      const { createPresignClient } = await import("./storage/s3/s3-presigner.ts");
      const { S3Store } = await import("./storage/s3/s3-store.ts");
      const env = { ...variablesOf(settings), ...parameters };
      const [client, presignClient] = [createS3Client(env, { traceparent }), createPresignClient(env)];
      const { AWS_ENDPOINT_URL_S3: endpoint } = parameters;
      const endpointHost = endpoint === undefined ? undefined : new URL(endpoint).host;
      return new S3Store({ client, bucket, prefix, presignClient, maxParts, endpointHost });
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

/** The parameters of an `s3://` URL, and the setting that each replaces for this store. */
const s3Parameters = new Map([
  ["profile", { setting: "AWS_PROFILE", expected: "a name", isValid: (value: string) => value !== "" }],
  [
    "region",
    {
      setting: "AWS_REGION",
      expected: "a name such as eu-west-1",
      isValid: (value: string) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(value),
    },
  ],
  [
    "endpoint",
    { setting: "AWS_ENDPOINT_URL_S3", expected: "a URL such as https://s3.example.com", isValid: isEndpoint },
  ],
]);

/** Returns settings of the AWS SDK. Messages leave values out: someone may have put a key there. */
function parseS3Parameters(
  url: string,
  query: string | undefined,
  { hasProfiles }: { readonly hasProfiles: boolean },
): Environment {
  const refuse = (problem: string): never => {
    throw new StowageError("INPUT_INVALID", `Cannot open the store "${url}": ${problem}`);
  };
  const settings: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(query)) {
    const parameter = s3Parameters.get(name);
    if (parameter === undefined) {
      const known = [...s3Parameters.keys()].join(", ");
      return refuse(`its URL has the parameter ${JSON.stringify(name)}, expected only ${known}`);
    }
    const { setting, expected, isValid } = parameter;
    if (Object.hasOwn(settings, setting)) refuse(`its URL has the parameter "${name}" twice, expected it once`);
    if (!isValid(value)) refuse(`the parameter "${name}" of its URL cannot be used, expected ${expected}`);
    if (name === "profile" && !hasProfiles)
      refuse("its URL names a profile, and this platform has no files with profiles");
    settings[setting] = value;
  }
  // Without this, the SDK would take the endpoint of another profile: that of the process.
  return {
    ...settings,
    ...(Object.hasOwn(settings, "AWS_PROFILE") && { AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: "true" }),
  };
}

function isEndpoint(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && username + password + search + hash === "";
}
