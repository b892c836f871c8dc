/**
 * Ends the requests of an S3 client with a signal. Handed to each `send`, a signal would make the SDK put its middleware
 * together anew for each request, a fifth of what one costs; here that is done once for each signal.
 */
import type { S3Client } from "@aws-sdk/client-s3";

const clients = new WeakMap<AbortSignal, WeakMap<S3Client, S3Client>>();

/** The same client, but that its requests end when the signal fires. */
export function withSignal(client: S3Client, signal: AbortSignal | undefined): S3Client {
  if (signal === undefined) return client;
  const known = clients.get(signal) ?? new WeakMap<S3Client, S3Client>();
  clients.set(signal, known);
  const view = known.get(client) ?? viewOf(client, signal);
  known.set(client, view);
  return view;
}

function viewOf(client: S3Client, abortSignal: AbortSignal): S3Client {
  const { requestHandler } = client.config;
  const handle: typeof requestHandler.handle = async (request, options) =>
    requestHandler.handle(request, { ...options, abortSignal });
  const config = {
    ...client.config,
    requestHandler: Object.create(requestHandler, { handle: { value: handle } }) as unknown,
  };
  return Object.create(client, {
    config: { value: config },
    handlers: { value: undefined, writable: true },
  }) as S3Client;
}
