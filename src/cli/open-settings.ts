/** The settings of the commands that work on a store in this process. */
import { parseConfig } from "../config.ts";
import { StowageError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { TagPattern } from "../oci/tag-pattern.ts";
import { openStore } from "../open-store.ts";
import type { Environment } from "../settings.ts";
import { isStore } from "../storage/check-store.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import type { CommandIo } from "./command.ts";

export interface StoreSettings {
  readonly store: ObjectStore;
  readonly limits: Limits;
  /** Tags that never move and are never removed. */
  readonly immutableTags: readonly TagPattern[];
}

/** Opens the store that `--store` names, else that of the settings. Throws `INPUT_INVALID`. */
export async function openSettings(env: Environment, storeUrl: string | undefined): Promise<StoreSettings> {
  // An empty variable of a script must not end in the default store.
  if (storeUrl === "") throw new StowageError("INPUT_INVALID", "--store is empty, expected a URL");
  const {
    storeUrl: url,
    limits,
    immutableTags,
  } = parseConfig({
    ...env,
    HOST: undefined, // where a service would listen, and to whom, is of no matter here
    PORT: undefined,
    STOWAGE_TOKENS: undefined,
    STOWAGE_ANONYMOUS_PULL: undefined,
    STOWAGE_ALLOW_ANYONE: undefined,
    ...(storeUrl !== undefined && { STOWAGE_STORE: storeUrl }),
  });
  return { store: await openStore(url, env), limits, immutableTags };
}

/** As `openSettings`, for a command that needs what is there. Throws `STORE_UNAVAILABLE` where there is no store. */
export async function openExisting(
  { env, signal }: Pick<CommandIo, "env" | "signal">,
  storeUrl: string | undefined,
): Promise<StoreSettings> {
  const settings = await openSettings(env, storeUrl);
  if (await isStore(settings.store, { signal })) return settings;
  throw new StowageError("STORE_UNAVAILABLE", `there is no Stowage store in ${settings.store.url}`);
}
