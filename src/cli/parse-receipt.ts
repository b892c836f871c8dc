/** Reads a receipt from JSON that a service has sent. */
import type { Receipt } from "../load/receipt.ts";
import { isJsonObject } from "../oci/json.ts";

/** The receipt as it is, with whatever else it holds; undefined if it is none. */
export function parseReceipt(json: unknown): Receipt | undefined {
  return isReceipt(json) ? json : undefined;
}

function isReceipt(json: unknown): json is Receipt {
  return (
    isJsonObject(json) &&
    isListOf(json["images"], isImage) &&
    isListOf(json["blobs"], isBlob) &&
    isListOf(json["ignored"], (entry) => hasStrings(entry, ["path", "reason"])) &&
    hasNumbers(json["bytes"], ["received", "written", "skipped"]) &&
    isJsonObject(json["requests"])
  );
}

function isImage(value: unknown): boolean {
  if (!isJsonObject(value)) return false;
  const { absent } = value;
  return (
    hasStrings(value, ["repository", "reference", "digest", "mediaType", "status"]) &&
    (absent === undefined || isListOf(absent, (descriptor) => hasStrings(descriptor, ["digest"])))
  );
}

function isBlob(value: unknown): boolean {
  return hasStrings(value, ["digest", "status"]) && hasNumbers(value, ["size"]);
}

function isListOf(value: unknown, isItem: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(isItem);
}

function hasStrings(value: unknown, names: readonly string[]): boolean {
  return isJsonObject(value) && names.every((name) => typeof value[name] === "string");
}

function hasNumbers(value: unknown, names: readonly string[]): boolean {
  return isJsonObject(value) && names.every((name) => typeof value[name] === "number");
}
