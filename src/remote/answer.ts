/** Whole answers of registries and token services: read with a cap and in a limited time. */
import { Buffer } from "node:buffer";
import { StowageError, limitExceeded } from "../errors.ts";
import { withinSeconds } from "../streams/in-time.ts";
import type { OpenAnswer } from "./open-answer.ts";

/** Bytes that are read of an error's body. */
const maxErrorBytes = 64 * 1024;
/** A whole answer, such as a manifest or a page of a list, has to arrive in this time. */
const maxAnswerSeconds = 300;

export interface Answer extends Pick<OpenAnswer, "status" | "headers" | "foreignOrigin"> {
  readonly bytes: Uint8Array;
}

/** Reads the body. Throws `LIMIT_EXCEEDED` above `maxBytes`; of an error's body, it reads only the beginning. */
export async function readAnswer(
  { body, ...answer }: OpenAnswer,
  { maxBytes, what }: { readonly maxBytes: number; readonly what: string },
): Promise<Answer> {
  const limit = isSuccess(answer) ? maxBytes : maxErrorBytes;
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    length += chunk.length;
    if (length <= limit) continue;
    if (isSuccess(answer)) throw limitExceeded(`Cannot read ${what}: it has more bytes`, { expected: maxBytes });
    break;
  }
  return { ...answer, bytes: Buffer.concat(chunks).subarray(0, limit) };
}

/** Gives `work` the time of a whole answer. Throws `TIMED_OUT` when it is over. */
export async function inAnswerTime<T>(
  { what, signal }: { readonly what: string; readonly signal: AbortSignal },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = (): Error =>
    new StowageError("TIMED_OUT", `Cannot read ${what}: the answer took more than ${maxAnswerSeconds} seconds`);
  return withinSeconds({ seconds: maxAnswerSeconds, late, signal }, work);
}

export function isSuccess({ status }: Pick<Answer, "status">): boolean {
  return status >= 200 && status < 300;
}
