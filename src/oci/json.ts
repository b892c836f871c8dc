/** Parses JSON from outside: once, strictly, into a value of unknown shape. */

import { quote } from "../errors.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * The most lists and objects inside each other. Stowage needs less than a tenth. `JSON.parse` takes seconds for
 * millions of them.
 */
export const maxJsonDepth = 100;

/**
 * Parses UTF-8 JSON without a byte order mark. Throws a `SyntaxError` or a `TypeError` that says what is wrong, also if
 * the JSON is nested too deep.
 */
export function parseJson(bytes: Uint8Array): unknown {
  checkDepth(bytes);
  return JSON.parse(decode(bytes));
}

/**
 * Parses the JSON of a manifest or an index, like `parseJson`. Also throws a `SyntaxError` for a key that differs from
 * a known key only in case: Go's readers ignore case, so a manifest with both `layers` and `Layers` is another image to
 * them. Also throws for values with which Go's readers refuse the whole manifest: `1.0` for a whole number, or
 * annotations that are not text.
 */
export function parseOciJson(bytes: Uint8Array): unknown {
  checkDepth(bytes);
  const text = decode(bytes);
  const json: unknown = JSON.parse(text);
  checkKeys(json);
  checkNumbers(text);
  return json;
}

/**
 * Finds a whole number with a fraction or an exponent, such as `1.0` or `1e3`. In a string, the quotes would be
 * escaped.
 */
const oddNumber = /"(?:schemaVersion|size)"\s*:\s*-?\d+(?:\.0+(?![\deE])|(?:\.\d+)?[eE][+-]?\d+)/;

/** A number such as `1.5` passes here. `parseDescriptor` refuses it, and names its place in the message. */
function checkNumbers(text: string): void {
  const [found] = oddNumber.exec(text) ?? [];
  if (found !== undefined) throw new SyntaxError(`found ${found.slice(0, 100)}, expected digits alone`);
}

/** Keeps a byte order mark: `JSON.parse` refuses it, as other readers do. */
function decode(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
}

/**
 * Looks at bytes: in UTF-8, the bytes of these characters are never a part of another character. `JSON.parse` finds
 * malformed JSON.
 */
function checkDepth(bytes: Uint8Array): void {
  let depth = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === 0x22) at = endOfString(bytes, at);
    else if (byte === 0x5d || byte === 0x7d) depth--;
    else if ((byte === 0x5b || byte === 0x7b) && ++depth > maxJsonDepth) {
      throw new SyntaxError(`found lists and objects nested ${depth} deep, expected at most ${maxJsonDepth}`);
    }
  }
}

/** The place of the quote that ends the string which begins at `start`. */
function endOfString(bytes: Uint8Array, start: number): number {
  let at = start + 1;
  while (at < bytes.length && bytes[at] !== 0x22) at += bytes[at] === 0x5c ? 2 : 1;
  return at;
}

const refuseOciLookalike = lookalikesOf([
  "schemaVersion",
  "mediaType",
  "artifactType",
  "config",
  "layers",
  "manifests",
  "subject",
  "digest",
  "size",
  "urls",
  "platform",
  "annotations",
  "data",
]);

/**
 * Checks all keys, except those inside `annotations` and `data`: users choose these freely. Goes no deeper than
 * `maxJsonDepth`.
 */
function checkKeys(json: unknown): void {
  if (Array.isArray(json)) for (const item of json) checkKeys(item);
  if (!isJsonObject(json)) return;
  for (const key of Object.keys(json)) {
    refuseOciLookalike(key);
    if (key === "annotations") checkAnnotations(json[key]);
    else if (key !== "data") checkKeys(json[key]);
  }
}

/** A map of strings (image specification, "Annotations"), or `null` for none. */
function checkAnnotations(annotations: unknown): void {
  if (annotations === null) return;
  if (!isJsonObject(annotations))
    throw new SyntaxError(`found ${describeJson(annotations)} as annotations, expected an object`);
  for (const [key, value] of Object.entries(annotations)) {
    if (typeof value === "string" || value === null) continue;
    throw new SyntaxError(`found ${describeJson(value)} as the annotation ${describeJson(key)}, expected a string`);
  }
}

/**
 * Returns a function that throws a `SyntaxError` for a key that Go's readers take for a known key, and other readers do
 * not.
 */
export function lookalikesOf(knownKeys: readonly string[]): (key: string) => void {
  const isKnown = new Set(knownKeys);
  // The flag `u` folds case as Go does: a long s counts as an s.
  const looksKnown = new RegExp(`^(?:${knownKeys.join("|")})$`, "iu");
  return (key) => {
    if (isKnown.has(key) || !looksKnown.test(key)) return;
    const meant = knownKeys.find((known) => new RegExp(`^${known}$`, "iu").test(key));
    throw new SyntaxError(`found the key "${key}", expected "${meant}" or one that differs by more than case`);
  };
}

/** Describes a value for a message: a short value itself, a list or an object by its kind. */
export function describeJson(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "an object";
  return typeof value === "string" ? quote(value, 100) : JSON.stringify(value);
}
