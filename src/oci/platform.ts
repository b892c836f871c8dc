/** The platform that an image runs on, in the words of the image specification. */
import type { JsonObject } from "./json.ts";

/** `linux/arm64/v8`; undefined if os or architecture is not said. */
export function platformOf({ os, architecture, variant }: JsonObject = {}): string | undefined {
  if (typeof os !== "string" || typeof architecture !== "string" || os === "" || architecture === "") return undefined;
  return [os, architecture, ...(typeof variant === "string" && variant !== "" ? [variant] : [])].join("/");
}
