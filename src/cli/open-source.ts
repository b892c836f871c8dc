/** Opens a place to read images from: a store, a service, or any registry. */
import type { Layout } from "../layout/layout.ts";
import { LayoutSource } from "../layout/layout-source.ts";
import type { ImageName } from "../oci/reference.ts";
import type { ImageSource } from "../remote/image-source.ts";
import { isRegistryAddress } from "../remote/registry-address.ts";
import type { CommandIo } from "./command.ts";
import { openExisting } from "./open-settings.ts";

export interface OpenSource {
  readonly source: ImageSource;
  /** The opened store. Undefined for a registry. */
  readonly layout: Layout | undefined;
  /** The image in an address such as `docker://ghcr.io/acme/app:1`, as the registry knows it. */
  readonly image: ImageName | undefined;
}

/**
 * Opens the store or the registry at a URL, without a URL the store of the settings. Throws `INPUT_INVALID`, and
 * `STORE_UNAVAILABLE` if there is no store yet.
 */
export async function openSource(url: string | undefined, io: CommandIo): Promise<OpenSource> {
  if (url === undefined || !isRegistryAddress(url)) {
    const { layout } = await openExisting(io, url);
    return { source: new LayoutSource(layout, { keepsIndexes: true }), layout, image: undefined };
  }
  const { openRegistry } = await import("./open-registry.ts");
  return openRegistry(url, io);
}
