/** Reads a small body of a request whole, such as JSON or a manifest. */
import type { Context } from "hono";
import { limitExceeded, messageOf, StowageError } from "../errors.ts";
import { type JsonObject, describeJson, isJsonObject, parseJson } from "../oci/json.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import type { Release } from "../streams/line.ts";
import { callerName, waiterOf } from "./authentication.ts";
import { contentLengthOf } from "./conditions.ts";
import { pathOf } from "./request-url.ts";
import { type Service, withinLoadSeconds } from "./service.ts";

/** Memory for each byte of a JSON text: the byte, the text, and the parsed values. */
const memoryPerByte = 3;

/** As `readSmallBody`. Throws `INPUT_INVALID` too, if the body is not a JSON object. */
export async function readJsonObject<T>(
  c: Context,
  service: Service,
  maxBytes: number,
  use: (json: JsonObject) => T | Promise<T>,
): Promise<T> {
  const parse = (bytes: Uint8Array): JsonObject => {
    try {
      const json = parseJson(bytes);
      if (isJsonObject(json)) return json;
      throw new Error(`found ${describeJson(json)}, expected an object`);
    } catch (error) {
      throw unreadable(c, error);
    }
  };
  return readSmallBody(c, service, { maxBytes, memoryPerByte }, async ({ bytes }) => use(parse(bytes)));
}

interface SmallBody {
  readonly maxBytes: number;
  /** The memory that is held for each byte. */
  readonly memoryPerByte: number;
  /** The setting that sets `maxBytes`, if one does. */
  readonly limit?: string;
  /** Takes a turn for the request once its first byte has come. */
  readonly takeTurn?: (signal: AbortSignal) => Promise<Release>;
}

interface ReadBody {
  readonly bytes: Uint8Array;
  /** Gives the memory back before the end of `use`. */
  readonly release: Release;
  readonly signal: AbortSignal;
}

/**
 * Reads the body into memory, and returns the result of `use`. Memory is held until `use` ends. Throws `LIMIT_EXCEEDED`
 * if the body is longer than `maxBytes`, `TIMED_OUT`, and `TOOMANYREQUESTS` if no turn comes, or no memory becomes
 * free, in time.
 */
export async function readSmallBody<T>(
  c: Context,
  service: Service,
  limits: SmallBody,
  use: (body: ReadBody) => T | Promise<T>,
): Promise<T> {
  const { maxBytes, takeTurn } = limits;
  const announced = contentLengthOf(c) ?? maxBytes;
  if (announced > maxBytes) throw tooLong(c, limits);
  return withinLoadSeconds("reading what was sent", service, async (signal) => {
    const body = service.watchBody(c, callerName(c));
    await body.begin(signal); // headers alone hold no memory
    const releases: Release[] = [];
    try {
      if (takeTurn !== undefined) releases.push(await takeTurn(signal));
      const { budget } = service.layout;
      const held = Math.min(limits.memoryPerByte * announced, budget.maxTakeBytes);
      const release = await budget.take(held, { ...waiterOf(c), signal });
      releases.push(release);
      return await use({ bytes: await readBytes(c, body, { ...limits, maxBytes: announced }), release, signal });
    } finally {
      await body.return();
      for (const release of releases) release();
    }
  });
}

/** Reads one byte more than is allowed, to find a body that is too long. */
async function readBytes(c: Context, body: AsyncIterable<Uint8Array>, limits: SmallBody): Promise<Uint8Array> {
  const { maxBytes } = limits;
  try {
    const bytes = await collectBytes(new ByteReader(body).stream(maxBytes + 1), maxBytes + 1);
    if (bytes.length <= maxBytes) return bytes;
  } catch (error) {
    throw unreadable(c, error);
  }
  throw tooLong(c, limits);
}

function unreadable(c: Context, error: unknown): StowageError {
  if (error instanceof StowageError) return error;
  const message = `Cannot read what was sent to ${pathOf(c)}: ${messageOf(error)}`;
  return new StowageError("INPUT_INVALID", message, { cause: error });
}

function tooLong(c: Context, { maxBytes, limit }: SmallBody): StowageError {
  return limitExceeded(`Cannot read what was sent to ${pathOf(c)}: it has too many bytes`, {
    ...(limit !== undefined && { limit }),
    expected: maxBytes,
  });
}
