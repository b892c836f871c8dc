/**
 * Sends a tarball that is too large for one request: in parallel parts, each tried again if it fails. Then asks the
 * service to load it. The service knows an upload by the fingerprint of its bytes. So any client that sends the same
 * bytes continues the same upload.
 */
import { StowageError, isTransient } from "../../errors.ts";
import { codeIn, jsonIn } from "../../oci/error-body.ts";
import { isSuccess } from "../../remote/answer.ts";
import type { Progress } from "../progress.ts";
import type { ServiceReceipt } from "../describe-receipt.ts";
import type { Content } from "./content.ts";
import type { Answer } from "./exchange.ts";
import { type UploadInParts, parseUpload, sendParts } from "./send-parts.ts";
import { type LoadRequest, Refusal, type ServiceClient, isPermanent } from "./service-client.ts";

/** How often parts that the service has lost are sent again. */
const maxRounds = 3;

export interface UploadRequest extends LoadRequest {
  readonly service: ServiceClient;
  readonly progress: Progress;
}

/** Begins an upload, or continues an earlier one of the same bytes. */
export async function beginUpload(
  content: Content,
  { service, signal }: Pick<UploadRequest, "service" | "signal">,
): Promise<UploadInParts> {
  const json = { size: content.size, fingerprint: await content.fingerprint(signal) };
  return readUpload(await service.ask("v1/uploads", { method: "POST", json, signal }), content, service);
}

/** The parts and the bytes that have arrived. */
export function countPresent({ parts }: UploadInParts): { readonly parts: number; readonly bytes: number } {
  const present = parts.filter((part) => part.present);
  return { parts: present.length, bytes: present.reduce((sum, { size }) => sum + size, 0) };
}

/**
 * Sends the parts that are missing, and asks the service to load the upload. Throws `Refusal`, `STORE_UNAVAILABLE`, and
 * the signal's reason. After a refusal that is permanent (`isPermanent`) the upload is deleted: the next run would find
 * it again and be refused again.
 */
export async function sendInParts(
  content: Content,
  upload: UploadInParts,
  options: UploadRequest,
): Promise<ServiceReceipt> {
  try {
    return await sendAndLoad(content, upload, options);
  } catch (error) {
    if (!isPermanent(error)) throw withResumeHint(error);
    await deleteUpload(upload, options);
    throw error;
  }
}

async function sendAndLoad(content: Content, begun: UploadInParts, options: UploadRequest): Promise<ServiceReceipt> {
  const { service, progress, signal } = options;
  const look = async (): Promise<UploadInParts> =>
    readUpload(await service.ask(`v1/uploads/${begun.id}`, { method: "GET", signal }), content, service);
  for (let upload = begun, round = 1; ; upload = await look(), round += 1) {
    progress.startFrom(countPresent(upload).bytes);
    await sendParts(content, upload, { ...options, look });
    progress.finish();
    const answer = await service.loadUpload(upload.id, options);
    const lacksParts = codeIn(answer.bytes) === "BLOB_UPLOAD_INVALID"; // the service has lost some parts
    if (!lacksParts || round === maxRounds) return service.readReceipt(answer);
  }
}

function readUpload(answer: Answer, content: Content, service: ServiceClient): UploadInParts {
  if (!isSuccess(answer)) throw service.refused(answer);
  const upload = parseUpload(jsonIn(answer.bytes), content.size);
  if (upload !== undefined) return upload;
  throw service.failed(`it answered ${answer.status} without an upload of ${content.size} bytes: is this a Stowage?`);
}

/** Adds how to continue, if the error is a passing one: the command was stopped, or the service cannot be reached. */
function withResumeHint(error: unknown): unknown {
  if (!(error instanceof StowageError)) return error;
  const code = error instanceof Refusal ? (error.reason ?? error.code) : error.code;
  if (!isTransient(code)) return error;
  const message = `${error.message}; what has arrived stays there, run the same again to go on`;
  return new StowageError(error.code, message, { cause: error, ...(error.detail && { detail: error.detail }) });
}

async function deleteUpload({ id }: UploadInParts, { service, signal }: UploadRequest): Promise<void> {
  // A failure is ignored: the upload expires by itself, and the user must see why the load failed.
  await service.ask(`v1/uploads/${id}`, { method: "DELETE", signal }).catch(() => undefined);
}
