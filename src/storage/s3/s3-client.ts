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

/**
 * Connections to the store at most; further requests wait for one. Half of them are free of clients that pull blobs. That is
 * more than there are loads at once: a load that reads an upload holds a connection while it waits for another to write.
 */
const maxSockets = 2 * defaultMaxOpenBodies;
const connectionTimeoutMs = 10_000;
/** How long a connection may be silent: while the store works on a request, and while a reader does not read on. */
const socketTimeoutMs = 120_000;
/** Tries of one request, the first included; the SDK waits longer before each. All tries of a read end within 45 s. */
const maxAttempts = 4;
/** How long a try waits for the head of an answer, where the store has little to do for it. */
const readAnswerMs = 10_000;
const writeAnswerMs = 30_000;
/** A larger body may take longer to send than that, over a slow line. */
const maxSmallBodyBytes = 64 * 1024;

/** The region of an endpoint of one's own, if none is set. Such servers rarely look at it. */
const ownEndpointRegion = "us-east-1";

/**
 * Makes a client from the AWS SDK's own environment variables. An endpoint of one's own (`AWS_ENDPOINT_URL_S3`,
 * `AWS_ENDPOINT_URL`) is addressed path-style, and `AWS_REGION` may be left out there. What `env` does not say the SDK
 * finds as it always does: profiles, instance roles. `answerMs` is how long a try waits for the head of an answer, in place of
 * the usual 10 s for a read and 30 s for a small write. Throws `INPUT_INVALID` for an endpoint that is no URL.
 */
export function createS3Client(
  env: Readonly<Record<string, string | undefined>>,
  { answerMs }: { readonly answerMs?: number | undefined } = {},
): S3Client {
  const endpoint = endpointOf(env);
  const region = env["AWS_REGION"] || (endpoint && ownEndpointRegion);
  const credentials = credentialsOf(env);
  const client = new S3Client({
    ...(endpoint && { endpoint, forcePathStyle: true }),
    ...(region && { region }),
    ...(credentials && { credentials }),
    maxAttempts,
    requestHandler: {
      connectionTimeout: connectionTimeoutMs,
      socketTimeout: socketTimeoutMs,
      throwOnRequestTimeout: true,
      httpAgent: { keepAlive: true, maxSockets },
      httpsAgent: { keepAlive: true, maxSockets },
    },
    cacheMiddleware: true, // nothing changes it after this function
    expectContinueHeader: false,
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
  });
  presetPayloadHash(client);
  limitAnswers(client, answerMs);
  return client;
}

/** The SDK itself says "Invalid URL" of it, at the first request. */
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
 * Ends a try that gets no answer. The SDK knows one timeout for all requests; but a large body takes long to send, and a
 * store may copy an object, or complete an upload, for minutes before it answers.
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

/** A profile comes before keys in the environment, as everywhere in the SDK. */
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
 * Spares the SDK the hashing of a body for its signature. Where a request carries its SHA-256 as a checksum, that is the
 * signed payload hash too, and the store verifies it. Parts go unsigned if they cannot be changed on their way: over
 * TLS, and within this machine. Over plain HTTP elsewhere nothing but the signature guards them: they are hashed once more.
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

interface SignableRequest {
  readonly headers: Record<string, unknown>;
  readonly method?: unknown;
  readonly protocol?: unknown;
  readonly hostname?: unknown;
}

/** The SDK's middleware knows a request as `unknown`. */
function isSignable(request: unknown): request is SignableRequest {
  return isJsonObject(request) && isJsonObject(request["headers"]);
}

function isGuarded({ protocol, hostname }: SignableRequest): boolean {
  return protocol === "https:" || (typeof hostname === "string" && isLoopback(hostname));
}
