/** Reads the body of an error (distribution specification, "Error Codes"), as any server may have written it. */
import { type ErrorCode, isErrorCode } from "../errors.ts";
import { type JsonObject, describeJson, isJsonObject, parseJson } from "./json.ts";

/** Characters that are shown of the messages of an OCI error body. */
const maxMessages = 4000;
/** Characters that are shown of any other body, such as a proxy's page. */
const maxForeignText = 300;

/** The JSON of a body. Undefined if the body is not JSON. */
export function jsonIn(bytes: Uint8Array): unknown {
  try {
    return parseJson(bytes);
  } catch {
    return undefined;
  }
}

/** The code of the first error, if Stowage has the same. */
export function codeIn(bytes: Uint8Array): ErrorCode | undefined {
  const code = errorsIn(bytes)[0]?.["code"];
  return isErrorCode(code) ? code : undefined;
}

/** The detail of the first error. */
export function detailIn(bytes: Uint8Array): JsonObject | undefined {
  const detail = errorsIn(bytes)[0]?.["detail"];
  return isJsonObject(detail) ? detail : undefined;
}

/** The messages of an OCI error body, in one line. For any other body, its first characters. */
export function errorText(bytes: Uint8Array): string {
  const errors = errorsIn(bytes).map(({ code, message }) => `${textOf(code)}: ${textOf(message)}`);
  const text = errors.length > 0 ? errors.join("; ") : new TextDecoder().decode(bytes);
  const max = errors.length > 0 ? maxMessages : maxForeignText;
  const line = text.replaceAll(/\s+/g, " ").trim();
  if (line === "") return "and says no more";
  return line.length <= max ? line : `${line.slice(0, max)}…`;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : describeJson(value);
}

function errorsIn(bytes: Uint8Array): readonly JsonObject[] {
  const json = jsonIn(bytes);
  return isJsonObject(json) && Array.isArray(json["errors"]) ? json["errors"].filter(isJsonObject) : [];
}
