/** The settings of the commands that work on a store in this process. */
import { StowageError } from "../errors.ts";
import { isStore } from "../layout/check-store.ts";
import { Layout } from "../layout/layout.ts";
import type { RetentionRule } from "../settings/parse-retention.ts";
import type { TagPattern } from "../oci/tag-pattern.ts";
import { openStore } from "../open-store.ts";
import { parseConfig } from "../settings/config.ts";
import type { Environment } from "../settings/settings.ts";
import type { CommandIo } from "./command.ts";

export interface StoreSettings {
  readonly layout: Layout;
  /** Tags that never move and are never removed. */
  readonly immutableTags: readonly TagPattern[];
  readonly gcGraceSeconds: number;
  readonly retention: readonly RetentionRule[];
  readonly retentionFile: string | undefined;
}

/** Opens the store that `--store` names, else that of the settings. Throws `INPUT_INVALID`. */
export async function openSettings(env: Environment, storeUrl: string | undefined): Promise<StoreSettings> {
  // In a script, an unset variable must not lead to the default store.
  if (storeUrl === "") throw new StowageError("INPUT_INVALID", "--store is empty, expected a URL");
  const own = {
    ...env,
    HOST: undefined, // these are settings of a service: a mistake in them must not stop a command
    PORT: undefined,
    STOWAGE_TOKENS: undefined,
    STOWAGE_TOKENS_FILE: undefined,
    STOWAGE_OIDC: undefined,
    STOWAGE_ANONYMOUS_PULL: undefined,
    STOWAGE_ALLOW_ANYONE: undefined,
    ...(storeUrl !== undefined && { STOWAGE_STORE: storeUrl }),
  };
  const { storeUrl: url, limits, ...settings } = parseConfig(own, { hasFiles: true });
  return { ...settings, layout: Layout.open(await openStore(url, env), { limits }) };
}

/** As `openSettings`. Throws `STORE_UNAVAILABLE` if there is no store yet. */
export async function openExisting(
  { env, signal }: Pick<CommandIo, "env" | "signal">,
  storeUrl: string | undefined,
): Promise<StoreSettings> {
  const settings = await openSettings(env, storeUrl);
  const { store } = settings.layout;
  if (await isStore(store, { signal })) return settings;
  throw new StowageError("STORE_UNAVAILABLE", `there is no Stowage store in ${store.url}`);
}
