/** One request to S3: its client, its object, and its names in messages. */
import type { S3Client } from "@aws-sdk/client-s3";
import { type Digest, algorithmOf, hexOf } from "../../digest.ts";
import type { SendOptions } from "../object-store.ts";

/** The place of an object, in S3's words. */
export interface S3Location {
  readonly Bucket: string;
  readonly Key: string;
}

export interface S3Call {
  /** URL of the store. */
  readonly url: string;
  /** S3's own name of the operation, such as `PutObject`. */
  readonly operation: string;
  /** The key without the prefix of the store, or the prefix of a listing. */
  readonly key: string;
}

/** The views of a store's client, by signal. The requests of a view end with its signal. */
export type ClientViews = WeakMap<AbortSignal, S3Client>;

export interface S3Request extends SendOptions {
  readonly client: S3Client;
  readonly views: ClientViews;
  readonly at: S3Location;
  /** For messages. */
  readonly call: S3Call;
}

/**
 * The client that sends the request. Its requests end with the signal. With `once` it does not try again.
 *
 * If each `send` gets a signal, the SDK builds its middleware again for each request, which takes a fifth of the
 * request's time. A view of the client for each signal builds the middleware once.
 */
export function clientOf({ client, views, signal, once = false }: Omit<S3Request, "at" | "call">): S3Client {
  if (once) return viewOf(client, signal, { isOnce: true });
  if (signal === undefined) return client;
  const view = views.get(signal) ?? viewOf(client, signal, { isOnce: false });
  views.set(signal, view);
  return view;
}

function viewOf(client: S3Client, abortSignal: AbortSignal | undefined, { isOnce }: { isOnce: boolean }): S3Client {
  const { requestHandler } = client.config;
  const handle: typeof requestHandler.handle = async (request, options) =>
    requestHandler.handle(request, { ...options, ...(abortSignal && { abortSignal }) });
  const config = {
    ...client.config,
    requestHandler: Object.create(requestHandler, { handle: { value: handle } }) as unknown,
  };
  const view = Object.create(client, {
    config: { value: config },
    ...(isOnce && { middlewareStack: { value: withoutRetries(client) } }),
  }) as S3Client;
  return buildOnce(view);
}

/**
 * Builds the client's middleware once for each kind of command. The SDK can do that too (`cacheMiddleware`), but then
 * keeps the first command of each kind as long as the client, with its body: up to a part for each load.
 */
export function buildOnce(client: S3Client): S3Client {
  const handlers = new WeakMap<object, SdkHandler>();
  const send = async (command: SdkCommand): Promise<unknown> => {
    const { constructor: kind } = command;
    const handler =
      handlers.get(kind) ?? new kind({}).resolveMiddleware(client.middlewareStack, client.config, undefined);
    handlers.set(kind, handler);
    return (await handler(command)).output;
  };
  return Object.defineProperty(client, "send", { value: send });
}

type SdkHandler = (command: SdkCommand) => Promise<{ readonly output: unknown }>;

/** What all commands of the SDK have. */
interface SdkCommand {
  readonly constructor: new (input: object) => SdkCommand;
  resolveMiddleware(stack: S3Client["middlewareStack"], config: S3Client["config"], options: undefined): SdkHandler;
}

/**
 * The client's middleware without retries: the part that tries again is replaced by one that only passes the request
 * on.
 */
function withoutRetries(client: S3Client): S3Client["middlewareStack"] {
  const stack = client.middlewareStack.clone();
  const retries = { name: "retryMiddleware", step: "finalizeRequest", priority: "high", override: true } as const;
  stack.add((next) => async (args) => next(args), retries);
  return stack;
}

/** The hash of a SHA-256, in hex. Undefined for any other digest: few servers know another one as a checksum. */
export function sha256In(digest: Digest | undefined): string | undefined {
  return digest !== undefined && algorithmOf(digest) === "sha256" ? hexOf(digest) : undefined;
}
