/** From settings to the app: what every platform does before it serves. */
import type { Hono } from "hono";
import { type Config, parseConfig } from "./config.ts";
import { type AppOptions, createApp } from "./http/app.ts";
import { openStore } from "./open-store.ts";
import { type Settings, variablesOf } from "./settings.ts";
import type { ObjectStore } from "./storage/object-store.ts";

/** What a platform adds to the settings. */
export type Platform = Omit<AppOptions, "store" | "access" | "limits" | "redirectBlobs">;

export interface OpenedApp {
  readonly app: Hono;
  readonly config: Config;
  readonly store: ObjectStore;
}

/** Reads the settings, opens the store and makes the app. Throws `INPUT_INVALID` with every problem of the settings. */
export async function openApp(settings: Settings, platform: Platform): Promise<OpenedApp> {
  const config = parseConfig(variablesOf(settings));
  const store = await openStore(config.storeUrl, settings);
  return { app: createApp({ ...config, ...platform, store }), config, store };
}
