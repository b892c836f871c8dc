/**
 * Runs a service from its settings to its end, on Node, Deno and Bun. When the service is told to stop, it accepts no
 * more requests and finishes those that run. A request that takes too long ends as if its client had gone.
 */
import type { Context, Hono } from "hono";
import { once } from "node:events";
import process from "node:process";
import { describeAccess } from "../auth/describe-access.ts";
import type { Hasher } from "../digest.ts";
import { messageOf, StowageError } from "../errors.ts";
import { type Report, notice } from "../events.ts";
import type { AppOptions } from "../http/app.ts";
import { checkStore } from "../layout/check-store.ts";
import { openApp } from "../open-app.ts";
import type { Config } from "../settings/config.ts";
import type { Settings } from "../settings/settings.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { openTokensFile } from "./tokens-file.ts";

/** The differences between Node, Deno and Bun. */
export interface Runtime {
  /** The fastest source of a request's body. */
  readonly bodyOf: (c: Context) => AsyncIterable<Uint8Array>;
  /** Closes a client's connection at once. */
  readonly hangUp?: (c: Context) => void;
  /** The address at the other end of a request's connection. */
  readonly clientOf?: NonNullable<AppOptions["clientOf"]>;
  /** Calls back when an answer has ended. */
  readonly watchAnswer?: NonNullable<AppOptions["watchAnswer"]>;
  /** Hashes blobs of 256 KiB and more beside the main thread. */
  readonly hasher?: Hasher | undefined;
  /** Can others reach the service, even with a loopback `HOST`? */
  readonly isReachable?: boolean;
  /** Settings that do nothing on this platform. */
  readonly ignores?: readonly string[];
  /** The platform's values for settings that are not set. */
  readonly defaults?: Settings;
  /**
   * Listens. Throws if the port is taken, for example. Port 0 stands for any free port. `report` gets events of
   * requests and connections that the app never sees.
   */
  listen(fetch: Hono["fetch"], settings: ListenSettings, report: Report): Promise<Listener>;
}

export type ListenSettings = Pick<Config, "host" | "port" | "limits" | "keepAliveSeconds" | "maxConnections">;

export interface Listener {
  readonly url: string;
  /** Takes no more connections. Resolves when the last one has ended. */
  close(): Promise<void>;
  /** Cuts off the connections that are left. */
  cut(): void;
}

/** Where the log goes. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

/** After running requests are ended, their last answers may take this long. */
const farewellMs = 2000;

/**
 * Serves until the signal fires, and then until the running requests have ended. A SIGINT or SIGTERM after the signal
 * ends them at once.
 */
export async function runService(
  settings: Settings,
  runtime: Runtime,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const ending = new AbortController();
  const { defaults, ...traits } = runtime;
  const opened = await openApp(
    { ...defaults, ...settings },
    {
      ...traits,
      hasFiles: true,
      openTokensFile,
      openMetrics: async (metrics) => (await import("./metrics.ts")).openMetrics(metrics),
      signal: ending.signal,
      write: (line) => void output.write(`${line}\n`),
      isTerminal: output.isTTY,
    },
  );
  const { app, access, config, layout, report } = opened;
  const { store } = layout;
  if (config.checkStore) await checkAtStart(store, signal);
  const listener = await runtime.listen(app.fetch, config, report).catch((error: unknown) => {
    throw listenError(error, config);
  });
  report({ event: "start", url: listener.url, store: store.url, access: describeAccess(access) });

  if (!signal.aborted) await once(signal, "abort");
  const time = `${config.stopSeconds} more seconds`;
  report(notice("info", `Stopping: what runs may take ${time}, a second signal ends it`));
  const end = (): void => {
    ending.abort(new StowageError("INTERRUPTED", "Cannot finish: the service is stopping"));
    setTimeout(() => listener.cut(), farewellMs).unref();
  };
  process.once("SIGINT", end).once("SIGTERM", end);
  const timer = setTimeout(end, config.stopSeconds * 1000);
  await listener.close();
  clearTimeout(timer);
}

/** Checks the store. If it cannot be used, the operator learns it now, and not each client later. */
async function checkAtStart(store: ObjectStore, signal: AbortSignal): Promise<void> {
  try {
    await checkStore(store, { signal });
  } catch (error) {
    if (signal.aborted) return; // the service is told to stop
    const lines = ["(STOWAGE_CHECK_STORE=false starts without this look at the store)"];
    throw new StowageError("STORE_UNAVAILABLE", `Cannot start: ${messageOf(error)}`, { cause: error, lines });
  }
}

/** Runs the service as a program. Exit codes are those of `stowage serve`: 2 for settings that cannot be used. */
export async function runProgram(runtime: Runtime): Promise<void> {
  const stopping = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => stopping.abort());
  try {
    await runService(process.env, runtime, process.stdout, stopping.signal);
  } catch (error) {
    process.stderr.write(`stowage: ${messageOf(error)}\n`);
    process.exitCode = error instanceof StowageError && error.code === "INPUT_INVALID" ? 2 : 1;
  }
  setTimeout(() => process.exit(), farewellMs).unref(); // a connection that is not read would keep the process alive
}

/** The URL of an address, IPv6 in brackets. */
export function urlOf(host: string, port: number): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** The error of a service that cannot listen, with the setting that fixes it. */
function listenError(error: unknown, { host, port }: Pick<Config, "host" | "port">): Error {
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

/** Deno has names instead of codes. */
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
