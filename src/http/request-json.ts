/** Reads a small JSON body of a request. */
import type { Context } from "hono";
import { limitExceeded, messageOf, StowageError } from "../errors.ts";
import { type JsonObject, describeJson, isJsonObject, parseJson } from "../oci/json.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import type { Release } from "../streams/line.ts";
import { callerName, waitingTurnOf } from "./authentication.ts";
import { contentLengthOf } from "./conditions.ts";
import { pathOf } from "./request-url.ts";
import { type Service, withinLoadSeconds } from "./service.ts";

/** Memory for each byte of a JSON text: the byte, the text, and the parsed values. */
const memoryPerByte = 3;

/**
 * Reads and parses the body, and returns the result of `use`. Memory is held until `use` ends. Throws `INPUT_INVALID`
 * if the body is not a JSON object, `LIMIT_EXCEEDED` if it is longer than `maxBytes`, `TIMED_OUT`, and
 * `TOOMANYREQUESTS` if no memory becomes free in time.
 */
export async function readJsonObject<T>(
  c: Context,
  service: Service,
  maxBytes: number,
  use: (json: JsonObject) => T | Promise<T>,
): Promise<T> {
  const announced = contentLengthOf(c) ?? maxBytes;
  if (announced > maxBytes) throw tooLong(c, maxBytes);
  return withinLoadSeconds("reading what was sent", service, async (signal) => {
    const body = service.watchBody(c, callerName(c));
    await body.begin(signal); // headers alone hold no memory
    let release: Release | undefined;
    try {
      const { budget } = service.layout;
      const bytes = Math.min(memoryPerByte * announced, budget.maxBlobBytes);
      release = await budget.take(bytes, { ...waitingTurnOf(c), signal });
      return await use(await parseBody(c, body, announced));
    } finally {
      await body.return();
      release?.();
    }
  });
}

/** Reads one byte more than is allowed, to find a body that is too long. */
async function parseBody(c: Context, body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<JsonObject> {
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
  return limitExceeded(`Cannot read the JSON that was sent to ${pathOf(c)}: it has too many bytes`, {
    expected: maxBytes,
  });
}
