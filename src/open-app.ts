/** From settings to the app: what every platform does before it serves. */
import type { Hono } from "hono";
import { type Config, type ConfigOptions, parseConfig } from "./config.ts";
import { type AppOptions, createApp } from "./http/app.ts";
import { type OpenStoreOptions, openStore } from "./open-store.ts";
import { type Settings, variablesOf } from "./settings.ts";
import type { ObjectStore } from "./storage/object-store.ts";
import { ByteBudget } from "./streams/byte-budget.ts";

/** What a platform adds to the settings. */
export interface Platform
  extends
    Omit<AppOptions, "store" | "access" | "limits" | "budget" | "redirectBlobs" | "immutableTags" | "logPulls">,
    ConfigOptions,
    OpenStoreOptions {}

export interface OpenedApp {
  readonly app: Hono;
  readonly config: Config;
  readonly store: ObjectStore;
  /** What the app takes from as well: for loads that come another way, such as a bucket's events. */
  readonly budget: ByteBudget;
}

/**
 * Reads the settings, logs what is odd about them, opens the store and makes the app. Throws `INPUT_INVALID` with every
 * problem of the settings.
 */
export async function openApp(settings: Settings, platform: Platform): Promise<OpenedApp> {
  const config = parseConfig(variablesOf(settings), platform);
  for (const warning of config.warnings) platform.log?.(`Warning: ${warning}`);
  const store = await openStore(config.storeUrl, settings, platform);
  const budget = new ByteBudget(config.limits.maxBufferBytes);
  return { app: createApp({ ...config, ...platform, store, budget }), config, store, budget };
}
