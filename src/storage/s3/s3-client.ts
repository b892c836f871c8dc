/**
 * The AWS SDK's S3 client, tuned for a load. Its defaults cost more than half of the speed: a new connection for each
 * large request, a round trip of `Expect: 100-continue` before it, and every body hashed twice more.
 */
import { Buffer } from "node:buffer";
import { S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { StowageError } from "../../errors.ts";
import { isLoopback } from "../../loopback.ts";
import { isJsonObject } from "../../oci/json.ts";
import { defaultMaxOpenBodies } from "../object-store.ts";
import { largeReads } from "./large-reads.ts";
import { buildOnce } from "./s3-request.ts";

/**
 * The largest number of connections to the store. Further requests wait for one. Clients that pull blobs get at most
 * half of them. The other half must be enough for the loads at once: a load of an upload holds one connection for
 * reading while it waits for another for writing.
 */
const maxSockets = 2 * defaultMaxOpenBodies;
const connectionTimeoutMs = 10_000;
/** A connection may be silent for this long, while the store works or the reader does not read. */
const socketTimeoutMs = 120_000;
/**
 * Tries of one request, the first included. The SDK waits longer before each try. All tries of a read end within 45 s.
 */
const maxAttempts = 4;
/** A try waits this long for the head of an answer, if the store has little to do. */
const readAnswerMs = 10_000;
const writeAnswerMs = 30_000;
/** The time limit of a write applies up to this size: a larger body can take longer on a slow line. */
const maxSmallBodyBytes = 64 * 1024;

/** The region if none is set and the endpoint is not AWS's own. Such servers rarely check the region. */
const ownEndpointRegion = "us-east-1";

/**
 * Makes a client from the AWS SDK's own environment variables. With an own endpoint (`AWS_ENDPOINT_URL_S3`,
 * `AWS_ENDPOINT_URL`) addresses are path-style, and `AWS_REGION` is optional. The SDK finds all other settings as
 * usual, such as profiles and instance roles. `env` may have another `AWS_PROFILE` than the process.
 *
 * `answerMs` replaces the time that a try waits for the head of an answer (10 s for a read, 30 s for a small write).
 * `traceparent` returns the trace to which a request belongs. Throws `INPUT_INVALID` for an endpoint that is not a URL.
 */
export function createS3Client(
  env: Readonly<Record<string, string | undefined>>,
  {
    answerMs,
    traceparent,
  }: { readonly answerMs?: number | undefined; readonly traceparent?: (() => string | undefined) | undefined } = {},
): S3Client {
  const endpoint = endpointOf(env);
  const region = env["AWS_REGION"] || (endpoint && ownEndpointRegion);
  const credentials = credentialsOf(env);
  const profile = env["AWS_PROFILE"];
  const client = new S3Client({
    ...(endpoint && { endpoint, forcePathStyle: true }),
    ...(region && { region }),
    ...(credentials && { credentials }),
    ...(profile && { profile, logger: silent }),
    ...(env["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] === "true" && { ignoreConfiguredEndpointUrls: true }),
    maxAttempts,
    requestHandler: {
      connectionTimeout: connectionTimeoutMs,
      socketTimeout: socketTimeoutMs,
      throwOnRequestTimeout: true,
      httpAgent: { keepAlive: true, maxSockets, ...largeReads() }, // over TLS a read brings 16 KiB at most
      httpsAgent: { keepAlive: true, maxSockets },
    },
    expectContinueHeader: false,
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
  });
  client.middlewareStack.remove("loggerMiddleware"); // it copies each input and output, for a logger that writes nothing
  presetPayloadHash(client);
  limitAnswers(client, answerMs);
  if (traceparent !== undefined) passOnTrace(client, traceparent);
  return buildOnce(client); // the middleware does not change after this
}

/** Without it, the SDK warns on the console of a profile beside keys: a URL's profile comes before the keys. */
const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** Checks the endpoint. The SDK would only say "Invalid URL", at the first request. */
function endpointOf(env: Readonly<Record<string, string | undefined>>): string | undefined {
  for (const name of ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]) {
    const text = env[name];
    if (!text) continue;
    if (URL.canParse(text) && /^https?:\/\/./i.test(text)) return text;
    const expected = 'expected a URL such as "https://s3.example.com" or "http://127.0.0.1:9000"';
    throw new StowageError("INPUT_INVALID", `${name} is ${JSON.stringify(text)}, ${expected}`);
  }
  return undefined;
}

/**
 * Ends a try that gets no answer. The SDK has only one timeout for all requests. But a large body takes long to send,
 * and a store may work for minutes before it answers a copy or the completion of an upload.
 */
function limitAnswers(client: S3Client, answerMs: number | undefined): void {
  const { requestHandler } = client.config;
  const handle = requestHandler.handle.bind(requestHandler);
  requestHandler.handle = async (request, options) => {
    const usualMs = usualAnswerMs(request as unknown);
    return handle(request, usualMs === undefined ? options : { ...options, requestTimeout: answerMs ?? usualMs });
  };
}

/** Undefined for a request whose answer may take long. */
function usualAnswerMs(request: unknown): number | undefined {
  if (!isSignable(request)) return undefined;
  const { method, headers } = request;
  if (method === "GET" || method === "HEAD") return readAnswerMs;
  const isSmall = Number(headers["content-length"] ?? 0) <= maxSmallBodyBytes;
  const isQuick = method === "DELETE" || (method === "PUT" && headers["x-amz-copy-source"] === undefined);
  return isQuick && isSmall ? writeAnswerMs : undefined;
}

type Credentials = Extract<S3ClientConfig["credentials"], { accessKeyId: string }>;

/** The keys in the environment. Undefined if a profile is set: in the SDK, a profile comes before the keys. */
function credentialsOf(env: Readonly<Record<string, string | undefined>>): Credentials | undefined {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE } = env;
  if (!AWS_ACCESS_KEY_ID || !AWS_SECRET_ACCESS_KEY || AWS_PROFILE) return undefined;
  return {
    accessKeyId: AWS_ACCESS_KEY_ID,
    secretAccessKey: AWS_SECRET_ACCESS_KEY,
    ...(AWS_SESSION_TOKEN && { sessionToken: AWS_SESSION_TOKEN }),
  };
}

/**
 * Avoids a second hash of each body for the signature. If a request has its SHA-256 as a checksum, the same hash is
 * used in the signature, and the store verifies it. Parts are not signed over TLS or within this machine, because
 * nobody can change them on the way. Over plain HTTP elsewhere only the signature protects parts, so they are hashed
 * again.
 */
function presetPayloadHash(client: S3Client): void {
  client.middlewareStack.add(
    (next, { commandName }) =>
      (args) => {
        if (isSignable(args.request)) {
          const { headers } = args.request;
          const checksum = headers["x-amz-checksum-sha256"];
          if (typeof checksum === "string") {
            headers["x-amz-content-sha256"] = Buffer.from(checksum, "base64").toString("hex");
          } else if (commandName === "UploadPartCommand" && isGuarded(args.request)) {
            headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD";
          }
        }
        return next(args);
      },
    { step: "build", name: "presetPayloadHash" },
  );
}

/** Adds the header after the request is signed: a proxy may change or drop it, and the signature stays right. */
function passOnTrace(client: S3Client, traceparent: () => string | undefined): void {
  client.middlewareStack.add(
    (next) => (args) => {
      const value = traceparent();
      if (value !== undefined && isSignable(args.request)) args.request.headers["traceparent"] = value;
      return next(args);
    },
    { step: "finalizeRequest", priority: "low", name: "passOnTrace" },
  );
}

interface SignableRequest {
  readonly headers: Record<string, unknown>;
  readonly method?: unknown;
  readonly protocol?: unknown;
  readonly hostname?: unknown;
}

/** A type check: the SDK's middleware gets a request as `unknown`. */
function isSignable(request: unknown): request is SignableRequest {
  return isJsonObject(request) && isJsonObject(request["headers"]);
}

function isGuarded({ protocol, hostname }: SignableRequest): boolean {
  return protocol === "https:" || (typeof hostname === "string" && isLoopback(hostname));
}
