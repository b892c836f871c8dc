/**
 * `stowage load --to`:
 *
 * 1. reads the archive once: is it whole, and which blobs does it have?
 * 2. asks the service which of these blobs it lacks;
 * 3. sends only those: a small tarball in one request, a large one in parts.
 */
import { StowageError } from "../../errors.ts";
import type { CommandIo } from "../command.ts";
import { formatBytes } from "../format.ts";
import type { OpenInput } from "../open-input.ts";
import { reportChunks, startProgress } from "../progress.ts";
import type { ServiceReceipt } from "../describe-receipt.ts";
import { askMissing } from "./ask-missing.ts";
import type { Content } from "./content.ts";
import type { Answer } from "./exchange.ts";
import { makeContent } from "./make-content.ts";
import { type ScannedArchive, scanInput } from "./scan-input.ts";
import { type UploadRequest, beginUpload, countPresent, sendInParts } from "./send-in-parts.ts";
import type { UploadInParts } from "./send-parts.ts";
import { type LoadRequest, type ServiceClient, isPermanent, Refusal } from "./service-client.ts";
import { type TemporaryFile, openTemporaryFile } from "./temporary-file.ts";

/** How often the sending is started, if the service's blobs or the upload change meanwhile. */
const maxRuns = 4;

/** With `repair`, all blobs are sent, also those that the service has. The service compares them. */
export interface SendArchiveOptions extends Omit<LoadRequest, "signal"> {
  readonly service: ServiceClient;
  readonly io: CommandIo;
}

/** Throws the first error of the archive, or `STORE_UNAVAILABLE` with the service's answer, also if no answer came. */
export async function sendArchive(input: OpenInput, options: SendArchiveOptions): Promise<ServiceReceipt> {
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
  /** Says what is sent. The log begins with it. */
  readonly title: string;
  readonly openTemporary: () => Promise<TemporaryFile>;
}

/**
 * Asks which blobs are missing and sends them. Starts again if a blob that was left out is gone, if the upload is gone,
 * or if parts of an earlier upload may be damaged.
 */
async function sendScanned(archive: ScannedArchive, options: SendScannedOptions): Promise<ServiceReceipt> {
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
        mayResume = false; // the parts that had arrived may be of a damaged archive
        stderr.write("The service refused the upload with its earlier parts: sending all parts again\n");
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

/** Sends the content in one request, or in the parts of an upload, and shows the progress. */
async function sendContent(
  content: Content,
  upload: UploadInParts | undefined,
  { service, name, repair, copyTo, expires, title, io: { stderr, signal } }: SendScannedOptions,
): Promise<ServiceReceipt> {
  const found = upload === undefined ? undefined : countPresent(upload);
  if (upload !== undefined && found !== undefined && found.parts > 0) {
    const left = formatBytes(content.size - found.bytes);
    stderr.write(`${found.parts} of ${upload.parts.length} parts are there from before: ${left} are left to send\n`);
  }
  const progress = startProgress(stderr, {
    title: `Loading ${title} (${formatBytes(content.size)}) into ${service.name}`,
    totalBytes: content.size,
  });
  const options: UploadRequest = { service, name, repair, copyTo, expires, signal, progress };
  try {
    return upload === undefined ? await sendAtOnce(content, options) : await sendInParts(content, upload, options);
  } finally {
    progress.stop();
  }
}

async function sendAtOnce(content: Content, { service, progress, ...request }: UploadRequest): Promise<ServiceReceipt> {
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
