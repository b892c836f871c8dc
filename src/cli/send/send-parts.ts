/** Sends the parts that have not arrived yet, several at a time, each again and again until it is taken. */
import { concurrently } from "../../streams/concurrently.ts";
import type { Progress } from "../progress.ts";
import { watched } from "../watched.ts";
import type { Content } from "./content.ts";
import { type Answer, exchange } from "./exchange.ts";
import type { UploadInParts, UploadPart } from "./parse-upload.ts";
import { type ServiceClient, errorText, isSuccess } from "./service-client.ts";
import { isPassing, tryAgain } from "./try-again.ts";

/** One connection seldom fills a line; more than a few only take it from one another. */
const maxConcurrentParts = 4;

export interface SendPartsOptions {
  readonly service: ServiceClient;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  /** Asks the service about the upload again: the URLs of its parts may have expired. */
  readonly look: () => Promise<UploadInParts>;
}

/** Throws `STORE_UNAVAILABLE` if a part is not taken at last, once no other is under way any more. */
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
    const isWorthIt = (answer: Answer): boolean => isPassing(answer) || isStale(answer);
    const answer = await service.attempt(tryAgain(ask, { signal, isWorthIt }));
    if (isSuccess(answer)) return;
    throw service.failed(`part ${number} was answered ${answer.status} ${errorText(answer)}`);
  }

  #part(number: number): UploadPart {
    const part = this.#upload.parts[number - 1];
    if (part !== undefined) return part;
    throw new RangeError(`expected a part ${number}`);
  }

  /** Without the token: the URL alone allows it, and may be another server's. */
  async #put({ url, offset, size }: UploadPart): Promise<Answer> {
    const { progress, signal } = this.#options;
    let sent = 0;
    const source = watched(this.#content.read(offset, offset + size), (bytes) => {
      sent += bytes;
      progress.advance(bytes);
    });
    let isTaken = false;
    try {
      const answer = await exchange(url, { method: "PUT", body: { source, size }, signal });
      isTaken = isSuccess(answer);
      return answer;
    } finally {
      if (!isTaken) progress.advance(-sent);
    }
  }

  /** Once for all parts that found the same URLs to be stale. */
  async #lookAgain(stale: UploadInParts): Promise<void> {
    if (this.#upload !== stale) return;
    this.#looking ??= this.#options.look().then((upload) => {
      this.#upload = upload;
      this.#looking = undefined;
    });
    await this.#looking;
  }
}

/** The URL has expired, or the upload is no more. */
function isStale({ status }: Answer): boolean {
  return status === 403 || status === 404;
}
