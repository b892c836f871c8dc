/** Reads what the answers of a registry say: lengths, ranges, media types, lists and the links between their pages. */
import { type Descriptor, parseDescriptor } from "../oci/descriptor.ts";
import { isJsonObject } from "../oci/json.ts";
import type { Answer } from "./answer.ts";

/** Undefined also if the body was compressed on its way: `fetch` has unpacked it. */
export function lengthOf({ headers }: Pick<Answer, "headers">): number | undefined {
  const text = headers.get("Content-Length") ?? "";
  return /^\d{1,15}$/.test(text) && !headers.has("Content-Encoding") ? Number(text) : undefined;
}

/** The range that an answer has, and the length of the whole blob if it is known. */
export function rangeOf({
  headers,
}: Pick<Answer, "headers">): { readonly start: number; readonly size: number | undefined } | undefined {
  const [, start, size] = /^bytes (\d{1,15})-\d+\/(\d{1,15}|\*)$/.exec(headers.get("Content-Range") ?? "") ?? [];
  if (start === undefined) return undefined;
  return { start: Number(start), size: size === "*" ? undefined : Number(size) };
}

/** The query of the link to the next page (RFC 8288). */
export function nextQuery(link: string): string | undefined {
  const [, target] = /<([^>]*)>[^,<]*;\s*rel="?next\b/i.exec(link) ?? [];
  const at = target?.indexOf("?") ?? -1;
  return at === -1 ? undefined : target?.slice(at + 1).replace(/#.*/, "");
}

/** `null` stands for an empty list. */
export function namesIn(json: unknown, key: string): readonly string[] | undefined {
  const names = isJsonObject(json) ? (json[key] ?? []) : undefined;
  return Array.isArray(names) ? names.filter((name) => typeof name === "string") : undefined;
}

export function descriptorsIn(json: unknown, what: string): readonly Descriptor[] | undefined {
  const list = isJsonObject(json) ? (json["manifests"] ?? []) : undefined;
  return Array.isArray(list) ? list.map((value, i) => parseDescriptor(value, `item ${i} of ${what}`)) : undefined;
}

export function mediaTypeOf({ headers }: Answer): string {
  return (headers.get("Content-Type") ?? "").replace(/;.*/s, "").trim();
}
