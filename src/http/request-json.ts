/** The JSON of a request's body, where that is small. */
import type { Context } from "hono";
import { StowageError, messageOf } from "../errors.ts";
import { type JsonObject, describeJson, isJsonObject, parseJson } from "../oci/json.ts";
import { abortable } from "../streams/abortable.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import { pathOf } from "./request-url.ts";
import type { Service } from "./service.ts";
import { withinLoadSeconds } from "./within-load-seconds.ts";

/** Throws `INPUT_INVALID` if the body is no JSON object, `LIMIT_EXCEEDED` if it is longer than `maxBytes`, `TIMED_OUT`. */
export async function readJsonObject(c: Context, service: Service, maxBytes: number): Promise<JsonObject> {
  try {
    const bytes = await withinLoadSeconds("reading what was sent", service, async (signal) => {
      const reader = new ByteReader(abortable(service.bodyOf(c), signal));
      try {
        return await collectBytes(reader.stream(maxBytes + 1), maxBytes + 1);
      } finally {
        await reader.close();
      }
    });
    if (bytes.length > maxBytes) throw tooLong(c, maxBytes);
    const json = parseJson(bytes);
    if (isJsonObject(json)) return json;
    throw new Error(`found ${describeJson(json)}, expected an object`);
  } catch (error) {
    if (error instanceof StowageError) throw error;
    const message = `Cannot read the JSON that was sent to ${pathOf(c)}: ${messageOf(error)}`;
    throw new StowageError("INPUT_INVALID", message, { cause: error });
  }
}

function tooLong(c: Context, maxBytes: number): StowageError {
  const message = `Cannot read what was sent to ${pathOf(c)}: it is longer than ${maxBytes} bytes`;
  return new StowageError("LIMIT_EXCEEDED", message, { detail: { expected: maxBytes } });
}
