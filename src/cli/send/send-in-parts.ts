/**
 * Sends what is too large for one request, in parts that go up in parallel and again if they fail, and has it loaded. The
 * service knows the upload by what its bytes are: whoever sends the same again, from wherever, goes on with it.
 */
import { StowageError, isTransient } from "../../errors.ts";
import type { Receipt } from "../../load/receipt.ts";
import type { Progress } from "../progress.ts";
import type { Content } from "./content.ts";
import type { Answer } from "./exchange.ts";
import { type UploadInParts, parseUpload, sendParts } from "./send-parts.ts";
import {
  type LoadRequest,
  Refusal,
  type ServiceClient,
  isPermanent,
  isSuccess,
  jsonOf,
  reasonOf,
} from "./service-client.ts";

/** How often parts that got lost in the service are sent anew. */
const maxRounds = 3;

export interface SendOptions extends LoadRequest {
  readonly service: ServiceClient;
  readonly progress: Progress;
}

/** Begins an upload, or finds the one that was begun for the same bytes before. */
export async function beginUpload(
  content: Content,
  { service, signal }: Pick<SendOptions, "service" | "signal">,
): Promise<UploadInParts> {
  const json = { size: content.size, fingerprint: await content.fingerprint(signal) };
  return readUpload(await service.ask("v1/uploads", { method: "POST", json, signal }), content, service);
}

/** How much of it has arrived. */
export function countPresent({ parts }: UploadInParts): { readonly parts: number; readonly bytes: number } {
  const present = parts.filter((part) => part.present);
  return { parts: present.length, bytes: present.reduce((sum, { size }) => sum + size, 0) };
}

/**
 * Sends what has not arrived yet and has all of it loaded. Throws `Refusal` (for `isPermanent` the upload is deleted: it
 * would only be found again, and refused again), `STORE_UNAVAILABLE`, and the signal's reason.
 */
export async function sendInParts(content: Content, upload: UploadInParts, options: SendOptions): Promise<Receipt> {
  try {
    return await sendAndLoad(content, upload, options);
  } catch (error) {
    if (!isPermanent(error)) throw withResumeHint(error);
    await deleteUpload(upload, options);
    throw error;
  }
}

async function sendAndLoad(content: Content, begun: UploadInParts, options: SendOptions): Promise<Receipt> {
  const { service, progress, signal } = options;
  const look = async (): Promise<UploadInParts> =>
    readUpload(await service.ask(`v1/uploads/${begun.id}`, { method: "GET", signal }), content, service);
  for (let upload = begun, round = 1; ; upload = await look(), round += 1) {
    progress.startFrom(countPresent(upload).bytes);
    await sendParts(content, upload, { ...options, look });
    progress.finish();
    const answer = await service.loadUpload(upload.id, options);
    const lacksParts = reasonOf(answer) === "BLOB_UPLOAD_INVALID"; // some got lost
    if (!lacksParts || round === maxRounds) return service.readReceipt(answer);
  }
}

function readUpload(answer: Answer, content: Content, service: ServiceClient): UploadInParts {
  if (!isSuccess(answer)) throw service.refused(answer);
  const upload = parseUpload(jsonOf(answer), content.size);
  if (upload !== undefined) return upload;
  throw service.failed(`it answered ${answer.status} without an upload of ${content.size} bytes: is this a Stowage?`);
}

/** What ends the sending only for now: the command is ended, the service is out of reach or has trouble. */
function withResumeHint(error: unknown): unknown {
  if (!(error instanceof StowageError)) return error;
  const code = error instanceof Refusal ? (error.reason ?? error.code) : error.code;
  if (!isTransient(code)) return error;
  const message = `${error.message}; what has arrived stays there, run the same again to go on`;
  return new StowageError(error.code, message, { cause: error, ...(error.detail && { detail: error.detail }) });
}

async function deleteUpload({ id }: UploadInParts, { service, signal }: SendOptions): Promise<void> {
  // What stays expires by itself, and why it could not be loaded is what matters now.
  await service.ask(`v1/uploads/${id}`, { method: "DELETE", signal }).catch(() => undefined);
}
