/**
 * A service from its settings to its end, wherever there is a process: what Node, Deno and Bun share. Told to stop, it
 * takes no more requests and finishes those that run; what takes too long it ends as if its client had gone.
 */
import type { Context, Hono } from "hono";
import { once } from "node:events";
import process from "node:process";
import { describeAccess } from "../auth/access.ts";
import { messageOf, StowageError } from "../errors.ts";
import { checkStore } from "../layout/check-store.ts";
import { openApp } from "../open-app.ts";
import type { Config } from "../settings/config.ts";
import type { Settings } from "../settings/settings.ts";
import type { ObjectStore } from "../storage/object-store.ts";

/** What a platform has of its own. */
export interface Runtime {
  /** The fastest source of a request's body. */
  readonly bodyOf: (c: Context) => AsyncIterable<Uint8Array>;
  /** Closes a client's connection at once. */
  readonly hangUp?: (c: Context) => void;
  /** Can others reach the service whatever `HOST` says? */
  readonly isReachable?: boolean;
  /** Settings that do nothing on it. */
  readonly ignores?: readonly string[];
  /** Throws if it cannot, as where the port is taken. Port 0 is any that is free. */
  listen(fetch: Hono["fetch"], options: ListenOptions): Promise<Listener>;
}

export interface ListenOptions extends Pick<
  Config,
  "host" | "port" | "limits" | "keepAliveSeconds" | "maxConnections"
> {
  /** Told of requests and connections that the app never sees. */
  readonly log: (line: string) => void;
}

export interface Listener {
  readonly url: string;
  /** Takes no more connections; resolves when the last one has ended. */
  close(): Promise<void>;
  /** Cuts off the connections that are left. */
  cut(): void;
}

export interface RunOptions {
  readonly runtime: Runtime;
  /** Tells the service to stop. */
  readonly signal: AbortSignal;
  readonly write: (text: string) => void;
}

/** How long a service that ends what runs waits for the last answers to go out. */
const farewellMs = 2000;

/** Serves until the signal fires and what ran then has ended. A SIGINT or SIGTERM after the signal ends it at once. */
export async function runService(settings: Settings, { runtime, signal, write }: RunOptions): Promise<void> {
  const ending = new AbortController();
  const log = (line: string): void => write(`${new Date().toISOString()} ${line}\n`);
  const { bodyOf, hangUp, isReachable, ignores } = runtime;
  const platform = { bodyOf, hangUp, isReachable, ignores, signal: ending.signal, log };
  const { app, config, layout } = await openApp(settings, platform);
  const { store } = layout;
  if (config.checkStore) await checkAtStart(store, signal);
  const listener = await runtime.listen(app.fetch, { ...config, log }).catch((error: unknown) => {
    throw listenError(error, config);
  });
  const start = `Stowage listens on ${listener.url}, images are kept in ${store.url}`;
  write(`${start}; ${describeAccess(config.access)}\n`);

  if (!signal.aborted) await once(signal, "abort");
  write(`Stopping: what runs may take ${config.stopSeconds} more seconds, a second signal ends it\n`);
  const end = (): void => {
    ending.abort(new StowageError("INTERRUPTED", "Cannot finish: the service is stopping"));
    setTimeout(() => listener.cut(), farewellMs).unref();
  };
  process.once("SIGINT", end).once("SIGTERM", end);
  const timer = setTimeout(end, config.stopSeconds * 1000);
  await listener.close();
  clearTimeout(timer);
}

/** A service whose store cannot be used says so at once, rather than to each of its clients. */
async function checkAtStart(store: ObjectStore, signal: AbortSignal): Promise<void> {
  try {
    await checkStore(store, { signal });
  } catch (error) {
    if (signal.aborted) return; // it is told to stop, and does so by itself
    const lines = ["(STOWAGE_CHECK_STORE=false starts without this look at the store)"];
    throw new StowageError("STORE_UNAVAILABLE", `Cannot start: ${messageOf(error)}`, { cause: error, lines });
  }
}

/** The service as a program of its own. Exit codes are those of `stowage serve`: 2 for settings that cannot be used. */
export async function runProgram(runtime: Runtime): Promise<void> {
  const stopping = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => stopping.abort());
  const write = (text: string): void => void process.stdout.write(text);
  try {
    await runService(process.env, { runtime, signal: stopping.signal, write });
  } catch (error) {
    process.stderr.write(`stowage: ${messageOf(error)}\n`);
    process.exitCode = error instanceof StowageError && error.code === "INPUT_INVALID" ? 2 : 1;
  }
  setTimeout(() => process.exit(), farewellMs).unref(); // should a connection that nobody reads from hold it up
}

/** The URL of an address, IPv6 in brackets. */
export function urlOf(host: string, port: number): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

// Says why a service cannot listen, and which setting mends that.

/** The error to throw instead of what a platform has thrown. */
export function listenError(error: unknown, { host, port }: Pick<Config, "host" | "port">): Error {
  const code = codeOf(error);
  const reason = reasons[code] ?? `${messageOf(error)}; HOST and PORT say where it listens`;
  return new Error(`Cannot listen on ${host}, port ${port}: ${reason}`, { cause: error });
}

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program has the port; PORT or --port names another, 0 takes any that is free",
  EACCES: "the system does not allow this port; PORT or --port names another, those below 1024 are often reserved",
  EADDRNOTAVAIL: "this machine does not have that address; HOST or --host names another",
  ENOTFOUND: "there is no such address; HOST or --host names another",
};

/** Deno names its errors. */
const codesOfDeno: Readonly<Record<string, string>> = {
  AddrInUse: "EADDRINUSE",
  AddrNotAvailable: "EADDRNOTAVAIL",
  PermissionDenied: "EACCES",
};

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  if ("code" in error && typeof error.code === "string") return error.code;
  return codesOfDeno[error.name] ?? "";
}
