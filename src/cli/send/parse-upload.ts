/** Reads what a service says of an upload in parts. */
import { isJsonObject } from "../../oci/json.ts";

export interface UploadInParts {
  readonly id: string;
  /** In their order; they cover the whole without a gap. */
  readonly parts: readonly UploadPart[];
}

export interface UploadPart {
  /** From 1 on. */
  readonly number: number;
  readonly offset: number;
  /** Length in bytes. */
  readonly size: number;
  /** Where it is to be sent; whoever knows it may. */
  readonly url: URL;
  /** It has arrived already. */
  readonly present: boolean;
}

/** Undefined unless it is an upload of `size` bytes. */
export function parseUpload(json: unknown, size: number): UploadInParts | undefined {
  if (!isJsonObject(json)) return undefined;
  const { id } = json;
  if (typeof id !== "string" || !/^[\w-]+$/.test(id) || !Array.isArray(json["parts"])) return undefined;
  const parts: UploadPart[] = [];
  let offset = 0;
  for (const value of json["parts"]) {
    const part = parsePart(value);
    if (part === undefined || part.offset !== offset || part.number !== parts.length + 1) return undefined;
    parts.push(part);
    offset += part.size;
  }
  return offset === size ? { id, parts } : undefined;
}

function parsePart(value: unknown): UploadPart | undefined {
  if (!isJsonObject(value)) return undefined;
  const { number, offset, size, url, present } = value;
  if (typeof number !== "number" || typeof offset !== "number" || typeof size !== "number" || size <= 0)
    return undefined;
  if (typeof url !== "string" || !/^https?:/.test(url) || !URL.canParse(url)) return undefined;
  return { number, offset, size, url: new URL(url), present: present === true };
}
