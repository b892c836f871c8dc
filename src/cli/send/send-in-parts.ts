/**
 * Sends what is too large for one request, in parts that go up in parallel and again if they fail, and has it loaded. The
 * service knows the upload by what its bytes are: whoever sends the same again, from wherever, goes on with it.
 */
import { StowageError } from "../../errors.ts";
import type { Receipt } from "../../load/receipt.ts";
import { formatBytes } from "../format.ts";
import type { Progress } from "../progress.ts";
import type { Content } from "./content.ts";
import type { Answer } from "./exchange.ts";
import { type UploadInParts, parseUpload } from "./parse-upload.ts";
import { sendParts } from "./send-parts.ts";
import { type LoadRequest, type ServiceClient, errorsOf, isSuccess, jsonOf } from "./service-client.ts";
import { tryAgain } from "./try-again.ts";

/** How often parts that got lost in the service are sent anew. */
const maxRounds = 3;

const unknownUpload = "BLOB_UPLOAD_UNKNOWN";

/** What is in the parts can never be loaded: they would only be found again, and refused again. */
const hopelessCodes: ReadonlySet<unknown> = new Set([
  "ARCHIVE_INVALID",
  "DIGEST_INVALID",
  "SIZE_INVALID",
  "MANIFEST_INVALID",
  "MANIFEST_BLOB_UNKNOWN",
]);

/** The command is ended, or the service is out of reach. */
const passingCodes: ReadonlySet<string> = new Set(["INTERRUPTED", "STORE_UNAVAILABLE"]);

export interface SendOptions extends LoadRequest {
  readonly service: ServiceClient;
  readonly progress: Progress;
  /** Tells the user a line. */
  readonly tell: (line: string) => void;
}

/**
 * Returns the receipt; `gone` if the upload came to its end meanwhile, since it has expired or somebody else had it
 * loaded; `unsupported` where the service takes no parts. Throws `STORE_UNAVAILABLE`, and the signal's reason.
 */
export async function sendInParts(content: Content, options: SendOptions): Promise<Receipt | "gone" | "unsupported"> {
  const { service, progress, tell } = options;
  const begun = await beginUpload(content, options);
  if (begun.status === 404 || begun.status === 405) return "unsupported";
  const upload = readUpload(begun, content, service);
  const found = upload.parts.filter(({ present }) => present);
  const foundBytes = found.reduce((sum, { size }) => sum + size, 0);
  progress.skip(foundBytes);
  if (found.length > 0) {
    const left = formatBytes(content.size - foundBytes);
    tell(`${found.length} of ${upload.parts.length} parts are there from before: ${left} are left to send`);
  }
  try {
    return await sendAndLoad(content, upload, options);
  } catch (error) {
    if (error instanceof StowageError && error.code === unknownUpload) return "gone";
    throw error;
  }
}

async function beginUpload(content: Content, { service, signal }: SendOptions): Promise<Answer> {
  const json = { size: content.size, fingerprint: await content.fingerprint(signal) };
  return service.attempt(tryAgain(async () => service.ask("v1/uploads", { method: "POST", json, signal }), { signal }));
}

function readUpload(answer: Answer, content: Content, service: ServiceClient): UploadInParts {
  checkUpload(answer);
  if (!isSuccess(answer)) throw service.refused(answer);
  const upload = parseUpload(jsonOf(answer), content.size);
  if (upload !== undefined) return upload;
  throw service.failed(`it answered ${answer.status} without an upload of ${content.size} bytes: is this a Stowage?`);
}

async function sendAndLoad(content: Content, begun: UploadInParts, options: SendOptions): Promise<Receipt> {
  const { service, progress, signal } = options;
  const look = async (): Promise<UploadInParts> => {
    const ask = async (): Promise<Answer> => service.ask(`v1/uploads/${begun.id}`, { method: "GET", signal });
    return readUpload(await service.attempt(tryAgain(ask, { signal })), content, service);
  };
  for (let upload = begun, round = 1; ; upload = await look(), round += 1) {
    const answer = await orGoOnLater(async () => {
      await sendParts(content, upload, { ...options, look });
      progress.finish();
      return service.attempt(tryAgain(async () => service.loadUpload(upload.id, options), { signal }));
    });
    checkUpload(answer);
    const code = codeOf(answer);
    if (code === "BLOB_UPLOAD_INVALID" && round < maxRounds) continue; // it lacks parts: some got lost
    if (hopelessCodes.has(code)) await giveUp(upload, options);
    return service.readReceipt(answer);
  }
}

function checkUpload(answer: Answer): void {
  if (codeOf(answer) === unknownUpload) throw new StowageError(unknownUpload, "Cannot go on: the upload is gone");
}

function codeOf(answer: Answer): unknown {
  return errorsOf(answer)[0]?.["code"];
}

/** What ends the sending, but for a refusal, ends it only for now. */
async function orGoOnLater(send: () => Promise<Answer>): Promise<Answer> {
  try {
    return await send();
  } catch (error) {
    if (!(error instanceof StowageError) || !passingCodes.has(error.code)) throw error;
    const message = `${error.message}; what has arrived stays there, run the same again to go on`;
    throw new StowageError(error.code, message, { cause: error });
  }
}

async function giveUp({ id }: UploadInParts, { service, signal }: SendOptions): Promise<void> {
  // What stays expires by itself, and why it could not be loaded is what matters now.
  await service.ask(`v1/uploads/${id}`, { method: "DELETE", signal }).catch(() => undefined);
}
