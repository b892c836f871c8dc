/**
 * `stowage load --to`: reads the archive once to see that it is whole and what is in it, asks the service what is missing
 * there, and sends that alone: what is small by one request, what is large in parts.
 */
import { StowageError } from "../../errors.ts";
import type { Receipt } from "../../load/receipt.ts";
import type { ImageName } from "../../oci/reference.ts";
import type { CommandIo } from "../command.ts";
import { formatBytes } from "../format.ts";
import type { OpenInput } from "../open-input.ts";
import { reportChunks, startProgress } from "../progress.ts";
import { askMissing } from "./ask-missing.ts";
import type { Content } from "./content.ts";
import type { Answer } from "./exchange.ts";
import { makeContent } from "./make-content.ts";
import { type ScannedArchive, scanInput } from "./scan-input.ts";
import { type SendOptions, beginUpload, countPresent, sendInParts } from "./send-in-parts.ts";
import type { UploadInParts } from "./send-parts.ts";
import { type ServiceClient, isPermanent, Refusal } from "./service-client.ts";
import { type TemporaryFile, openTemporaryFile } from "./temporary-file.ts";

/** How often it is begun, where what it counted on changes meanwhile. */
const maxRuns = 4;

export interface SendArchiveOptions {
  readonly service: ServiceClient;
  readonly name: ImageName | undefined;
  /** Sends all blobs, also those that the service has, for it to compare. */
  readonly repair?: boolean | undefined;
  readonly io: CommandIo;
}

/** Throws what is wrong with the archive, `STORE_UNAVAILABLE` with what the service has answered, or that it has not. */
export async function sendArchive(input: OpenInput, options: SendArchiveOptions): Promise<Receipt> {
  const { io } = options;
  const temporaries: TemporaryFile[] = [];
  const openTemporary = async (): Promise<TemporaryFile> => {
    const file = await openTemporaryFile(io.env);
    temporaries.push(file);
    return file;
  };
  try {
    const archive = await scanInput(input, { io, openTemporary });
    return await sendScanned(archive, { ...options, title: input.name, openTemporary });
  } finally {
    for (const { handle } of temporaries) await handle.close();
  }
}

interface SendScannedOptions extends SendArchiveOptions {
  /** What is sent, for a log. */
  readonly title: string;
  readonly openTemporary: () => Promise<TemporaryFile>;
}

/** Asks what is missing and sends it; and begins anew where what it counted on turns out not to be so. */
async function sendScanned(archive: ScannedArchive, options: SendScannedOptions): Promise<Receipt> {
  const { service, openTemporary, repair = false } = options;
  const { stderr, signal } = options.io;
  const digests = [...new Set(archive.entries.flatMap(({ digest }) => digest ?? []))];
  let mayLeaveOut = !repair;
  let mayResume = true;
  for (let run = 1; ; run += 1) {
    const missing = await askMissing(digests, { service, signal });
    const present = new Set(mayLeaveOut ? digests.filter((digest) => !missing.digests.has(digest)) : []);
    const content = await makeContent(archive, { present, openTemporary, signal });
    if (present.size > 0) stderr.write(describeLeftOut(`${present.size} of ${digests.length} blobs`, archive, content));
    let upload: UploadInParts | undefined;
    try {
      if (content.size > missing.directBytes) upload = await beginUpload(content, { service, signal });
      return await sendContent(content, upload, options);
    } catch (error) {
      if (run === maxRuns) throw error;
      if (error instanceof Refusal && error.reason === "BLOB_UPLOAD_UNKNOWN") {
        const reason = "it has expired, or somebody else had it loaded";
        stderr.write(`The upload is gone: ${reason}. Asking again what is missing\n`);
      } else if (isAboutOneOf(present, error)) {
        mayLeaveOut = false;
        stderr.write("A blob that was there is gone or damaged: sending all of them\n");
      } else if (mayResume && isPermanent(error) && upload !== undefined && countPresent(upload).parts > 0) {
        mayResume = false; // what was there may have come of another archive, which was damaged
        stderr.write("It was refused with parts from before in it: sending all of it anew\n");
      } else {
        throw error;
      }
    }
  }
}

function describeLeftOut(blobs: string, { size }: ScannedArchive, content: Content): string {
  const sent = formatBytes(content.size);
  return content.size < size
    ? `${blobs} are there already: ${sent} instead of ${formatBytes(size)}\n`
    : `${blobs} are there already, but without them it would be more than the compressed ${sent}: all is sent\n`;
}

/** Does the service refuse the load because of a blob that was not sent? */
function isAboutOneOf(present: ReadonlySet<string>, error: unknown): boolean {
  const digest = error instanceof StowageError ? error.detail?.["digest"] : undefined;
  return typeof digest === "string" && present.has(digest);
}

/** Sends it by one request, or in the parts of an upload, and shows how far it has come. */
async function sendContent(
  content: Content,
  upload: UploadInParts | undefined,
  { service, name, repair, title, io: { stderr, signal } }: SendScannedOptions,
): Promise<Receipt> {
  const found = upload === undefined ? undefined : countPresent(upload);
  if (upload !== undefined && found !== undefined && found.parts > 0) {
    const left = formatBytes(content.size - found.bytes);
    stderr.write(`${found.parts} of ${upload.parts.length} parts are there from before: ${left} are left to send\n`);
  }
  const progress = startProgress(stderr, {
    title: `Loading ${title} (${formatBytes(content.size)}) into ${service.name}`,
    totalBytes: content.size,
  });
  const options: SendOptions = { service, name, repair, signal, progress };
  try {
    return upload === undefined ? await sendAtOnce(content, options) : await sendInParts(content, upload, options);
  } finally {
    progress.stop();
  }
}

async function sendAtOnce(content: Content, { service, progress, ...request }: SendOptions): Promise<Receipt> {
  const put = async (): Promise<Answer> => {
    let sent = 0;
    progress.startFrom(0);
    const source = reportChunks(content.read(), (bytes) => {
      sent += bytes;
      progress.advance(bytes);
      if (sent === content.size) progress.finish();
    });
    return service.put({ source, size: content.size }, request);
  };
  return service.readReceipt(await service.tryAgain(put, { signal: request.signal }));
}
