/** The parts of an upload: reads the service's list of them, and sends those that have not arrived. */
import { isJsonObject } from "../../oci/json.ts";
import { concurrently } from "../../streams/concurrently.ts";
import { errorText } from "../../oci/error-body.ts";
import { isSuccess } from "../../remote/answer.ts";
import { type Progress, reportChunks } from "../progress.ts";
import type { Content } from "./content.ts";
import type { Answer } from "./exchange.ts";
import { type ServiceClient, isTransientAnswer } from "./service-client.ts";

/** One connection seldom uses the whole bandwidth. More than four do not make it faster. */
const maxConcurrentParts = 4;

export interface UploadInParts {
  readonly id: string;
  /** In order, without gaps. */
  readonly parts: readonly UploadPart[];
}

interface UploadPart {
  /** Counted from 1. */
  readonly number: number;
  readonly offset: number;
  /** Length in bytes. */
  readonly size: number;
  /** Where the part is sent. The URL is a secret: it needs no token. */
  readonly url: URL;
  /** Has the part arrived? */
  readonly present: boolean;
}

interface SendPartsOptions {
  readonly service: ServiceClient;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  /** Asks the service about the upload again: the URLs of its parts may have expired. */
  readonly look: () => Promise<UploadInParts>;
}

/**
 * Sends several parts at a time, and tries each several times. If a part fails in the end, the other parts are stopped
 * first. Then this throws `STORE_UNAVAILABLE`.
 */
export async function sendParts(content: Content, upload: UploadInParts, options: SendPartsOptions): Promise<void> {
  const failed = new AbortController();
  const sender = new PartSender(content, upload, {
    ...options,
    signal: AbortSignal.any([options.signal, failed.signal]),
  });
  const absent = upload.parts.filter(({ present }) => !present);
  await concurrently(absent, maxConcurrentParts, async ({ number }) => {
    try {
      await sender.send(number);
    } catch (error) {
      failed.abort(error); // the others need not go on
      throw error;
    }
  });
}

class PartSender {
  readonly #content: Content;
  readonly #options: SendPartsOptions;
  #upload: UploadInParts;
  #looking: Promise<void> | undefined;

  constructor(content: Content, upload: UploadInParts, options: SendPartsOptions) {
    this.#content = content;
    this.#upload = upload;
    this.#options = options;
  }

  async send(number: number): Promise<void> {
    const { service, signal } = this.#options;
    const ask = async (): Promise<Answer> => {
      const upload = this.#upload;
      const answer = await this.#put(this.#part(number));
      if (isStale(answer)) await this.#lookAgain(upload);
      return answer;
    };
    const isWorthIt = (answer: Answer): boolean => isTransientAnswer(answer) || isTimeout(answer) || isStale(answer);
    const answer = await service.tryAgain(ask, { signal, isWorthIt });
    if (isSuccess(answer)) return;
    throw service.failed(`part ${number} was answered ${answer.status} ${errorText(answer.bytes)}`);
  }

  #part(number: number): UploadPart {
    const part = this.#upload.parts[number - 1];
    if (part !== undefined) return part;
    throw new RangeError(`expected a part ${number}`);
  }

  async #put({ url, offset, size }: UploadPart): Promise<Answer> {
    const { service, progress, signal } = this.#options;
    let sent = 0;
    const source = reportChunks(this.#content.read(offset, offset + size), (bytes) => {
      sent += bytes;
      progress.advance(bytes);
    });
    let isTaken = false;
    try {
      const answer = await service.putPart(url, { source, size }, signal);
      isTaken = isSuccess(answer);
      return answer;
    } finally {
      if (!isTaken) progress.advance(-sent);
    }
  }

  /** Asks for new URLs, once for all parts whose URLs have expired together. */
  async #lookAgain(stale: UploadInParts): Promise<void> {
    if (this.#upload !== stale) return;
    this.#looking ??= this.#options.look().then((upload) => {
      this.#upload = upload;
      this.#looking = undefined;
    });
    await this.#looking;
  }
}

/** Has the URL expired, or is the upload gone? */
function isStale(answer: Answer): boolean {
  return (
    answer.status === 403 || answer.status === 404 || (answer.status === 400 && s3CodeOf(answer) === "ExpiredToken")
  );
}

/** Has the bucket given up waiting for bytes (S3, "Error responses")? */
function isTimeout(answer: Answer): boolean {
  return answer.status === 400 && s3CodeOf(answer) === "RequestTimeout";
}

function s3CodeOf({ bytes }: Answer): string | undefined {
  return /<Code>(\w+)<\/Code>/.exec(new TextDecoder().decode(bytes))?.[1];
}

/** Reads a service's description of an upload. Undefined if it does not describe an upload of `size` bytes. */
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
