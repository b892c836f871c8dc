/** Opens the app that the settings describe. Every platform does this before it serves. */
import type { Hono } from "hono";
import type { Access, AccessSource } from "./auth/access.ts";
import { warnOfExpiry } from "./auth/describe-access.ts";
import type { CopyTargets } from "./copy/copy-to-targets.ts";
import { type AppOptions, createAppWithPage } from "./http/app.ts";
import { Layout } from "./layout/layout.ts";
import { type OpenStoreOptions, openStore } from "./open-store.ts";
import { pageOf } from "./page/page.ts";
import { type Config, type PlatformTraits, parseConfig } from "./settings/config.ts";
import { type Settings, variablesOf } from "./settings/settings.ts";

/** What a platform adds to the settings. */
interface Platform
  extends
    Omit<
      AppOptions,
      "layout" | "access" | "copyTargets" | "copyAfterLoad" | "redirectBlobs" | "immutableTags" | "logPulls"
    >,
    PlatformTraits,
    OpenStoreOptions {}

export interface OpenedApp {
  readonly app: Hono;
  readonly config: Config;
  /** Who may do what, at the start. */
  readonly access: Access;
  /** For loads that do not come through the app, such as those of a bucket's events. */
  readonly layout: Layout;
  /** The stores that images are copied to, by name. */
  readonly copyTargets: CopyTargets;
}

/** Reads the settings, logs warnings, opens the store and makes the app. Throws `INPUT_INVALID` with every problem found. */
export async function openApp(settings: Settings, platform: Platform): Promise<OpenedApp> {
  const config = parseConfig(variablesOf(settings), platform);
  for (const warning of config.warnings) platform.log?.(`Warning: ${warning}`);
  const store = await openStore(config.storeUrl, settings, platform);
  const layout = Layout.open(store, { limits: config.limits });
  const copyTargets = new Map<string, Layout>();
  for (const [name, url] of config.copyTargets) {
    copyTargets.set(name, layout.beside(await openStore(url, settings, platform)));
  }
  const source = await openAccess(config, platform);
  const access = typeof source === "function" ? await source() : source;
  const tokens = access === "anyone" ? [] : access.tokens;
  for (const warning of warnOfExpiry(tokens, layout.clock.now())) platform.log?.(`Warning: ${warning}`);
  const options = { ...config, ...platform, access: source, layout, copyTargets };
  const app = createAppWithPage(options, config.page ? pageOf : undefined);
  return { app, config, access, layout, copyTargets };
}

async function openAccess({ access, tokensFile }: Config, { openTokensFile, log }: Platform): Promise<AccessSource> {
  if (access === "anyone" || tokensFile === undefined || openTokensFile === undefined) return access;
  const readTokens = await openTokensFile(tokensFile, log ?? (() => undefined));
  return async () => ({ ...access, tokens: await readTokens() });
}
