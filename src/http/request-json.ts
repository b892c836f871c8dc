/** The JSON of a request's body, where that is small. */
import type { Context } from "hono";
import { messageOf, StowageError } from "../errors.ts";
import { type JsonObject, describeJson, isJsonObject, parseJson } from "../oci/json.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import { type Release, maxTurnWaitMs } from "../streams/line.ts";
import { callerName } from "./authentication.ts";
import { contentLengthOf } from "./conditions.ts";
import { pathOf } from "./request-url.ts";
import { type Service, withinLoadSeconds } from "./service.ts";

/** Bytes of memory for each byte of a JSON text: the bytes, the text, and the values that are used of it. */
const memoryPerByte = 3;

/**
 * Reads and parses the body, and returns what `use` makes of it: only until then memory is held for it. Throws
 * `INPUT_INVALID` if the body is no JSON object, `LIMIT_EXCEEDED` if it is longer than `maxBytes`, `TIMED_OUT`, and
 * `TOOMANYREQUESTS` if no memory was to be had.
 */
export async function readJsonObject<T>(
  c: Context,
  { service, maxBytes }: ReadJsonOptions,
  use: (json: JsonObject) => T | Promise<T>,
): Promise<T> {
  const caller = callerName(c);
  const announced = contentLengthOf(c) ?? maxBytes;
  if (announced > maxBytes) throw tooLong(c, maxBytes);
  return withinLoadSeconds("reading what was sent", service, async (signal) => {
    const body = service.bodyOf(c, caller);
    await body.begin(signal); // headers alone hold no memory
    let release: Release | undefined;
    try {
      const { budget } = service.layout;
      const bytes = Math.min(memoryPerByte * announced, budget.maxBlobBytes);
      release = await budget.take(bytes, { caller, signal, maxWaitMs: maxTurnWaitMs });
      return await use(await readJson(c, body, announced));
    } finally {
      await body.return();
      release?.();
    }
  });
}

export interface ReadJsonOptions {
  readonly service: Service;
  readonly maxBytes: number;
}

/** Reads one byte more than it may get, to see that there is none. */
async function readJson(c: Context, body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<JsonObject> {
  try {
    const reader = new ByteReader(body);
    const bytes = await collectBytes(reader.stream(maxBytes + 1), maxBytes + 1);
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
