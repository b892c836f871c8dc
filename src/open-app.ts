/** Opens the app that the settings describe. Every platform does this before it serves. */
import type { Hono } from "hono";
import { AsyncLocalStorage } from "node:async_hooks";
import type { Access, AccessSource } from "./auth/access.ts";
import { warnOfExpiry } from "./auth/describe-access.ts";
import type { CopyTargets } from "./copy/copy-to-targets.ts";
import { type Report, warning } from "./events.ts";
import { type AppOptions, createAppWithPage } from "./http/app.ts";
import { createLog } from "./http/log.ts";
import type { Metrics } from "./http/metrics-routes.ts";
import type { RequestRecord } from "./http/request-record.ts";
import { Layout, type LayoutOptions } from "./layout/layout.ts";
import { type OpenStoreOptions, openStore } from "./open-store.ts";
import { pageOf } from "./page/page.ts";
import { type Config, type PlatformTraits, parseConfig } from "./settings/config.ts";
import { type Settings, variablesOf } from "./settings/settings.ts";
import { CountingStore, type StoreCall } from "./storage/counting-store.ts";
import type { ObjectStore } from "./storage/object-store.ts";

/** What a platform adds to the settings. */
interface Platform
  extends
    Pick<
      AppOptions,
      "bodyOf" | "hangUp" | "clientOf" | "watchAnswer" | "signal" | "maxRequestBytes" | "maxResponseBytes"
    >,
    PlatformTraits,
    Pick<LayoutOptions, "hasher">,
    Omit<OpenStoreOptions, "traceparent"> {
  /** Writes a line of the log. Without it there is no log. */
  readonly write?: ((line: string) => void) | undefined;
  /** Do people read the log at a terminal? */
  readonly isTerminal?: boolean | undefined;
  /** Makes the metrics. Undefined on platforms whose instances cannot be asked one by one. */
  readonly openMetrics?: ((access: Metrics["access"]) => Promise<Observer & Metrics>) | undefined;
}

/** Learns what happens in the service. */
export interface Observer {
  readonly report: Report;
  readonly onStoreCall: (call: StoreCall) => void;
  readonly onCommit: (tries: number) => void;
}

export interface OpenedApp {
  readonly app: Hono;
  readonly config: Config;
  /** Who may do what, at the start. */
  readonly access: Access;
  /** For loads that do not come through the app, such as those of a bucket's events. */
  readonly layout: Layout;
  /** The stores that images are copied to, by name. */
  readonly copyTargets: CopyTargets;
  /** For events that the app does not see. */
  readonly report: Report;
}

/**
 * Reads the settings, logs warnings, opens the store and makes the app. Throws `INPUT_INVALID` with every problem
 * found.
 */
export async function openApp(settings: Settings, platform: Platform): Promise<OpenedApp> {
  const config = parseConfig(variablesOf(settings), platform);
  const metrics = config.metrics === "off" ? undefined : await platform.openMetrics?.(config.metrics);
  const report = openReport(config, platform, metrics);
  for (const problem of config.warnings) report(warning(problem));
  const running = new AsyncLocalStorage<RequestRecord>();
  const traceparent = (): string | undefined => running.getStore()?.trace?.traceparent;
  const onCall = (call: StoreCall): void => {
    const record = running.getStore();
    if (record !== undefined) record.storeRequests += call.requests;
    metrics?.onStoreCall(call);
  };
  const open = async (url: string): Promise<ObjectStore> =>
    new CountingStore(await openStore(url, settings, { ...platform, traceparent }), onCall);
  const { hasher } = platform;
  const onCommit = metrics?.onCommit;
  const layout = Layout.open(await open(config.storeUrl), { limits: config.limits, hasher, onCommit });
  const copyTargets = new Map<string, Layout>();
  for (const [name, url] of config.copyTargets) copyTargets.set(name, layout.beside(await open(url)));
  const source = await openAccess(config, platform, report);
  const access = typeof source === "function" ? await source() : source;
  const tokens = access === "anyone" ? [] : access.tokens;
  for (const problem of warnOfExpiry(tokens, layout.clock.now())) report(warning(problem));
  const options = { ...config, ...platform, access: source, layout, copyTargets, report, running, metrics };
  const app = createAppWithPage(options, config.page ? pageOf : undefined);
  return { app, config, access, layout, copyTargets, report };
}

/** The log, and the metrics if there are any. */
function openReport({ log }: Config, { write, isTerminal = false }: Platform, observer: Observer | undefined): Report {
  const format = log === "auto" ? (isTerminal ? "text" : "json") : log;
  const toLog = write === undefined ? (): void => undefined : createLog(write, format);
  if (observer === undefined) return toLog;
  return (event) => {
    observer.report(event);
    toLog(event);
  };
}

async function openAccess(
  { access, tokensFile }: Config,
  { openTokensFile }: Platform,
  report: Report,
): Promise<AccessSource> {
  if (access === "anyone" || tokensFile === undefined || openTokensFile === undefined) return access;
  const readTokens = await openTokensFile(tokensFile, report);
  return async () => ({ ...access, tokens: await readTokens() });
}
