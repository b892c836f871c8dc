/**
 * `stowage load --to`: reads the archive once to see that it is whole and what is in it, asks the service what is missing
 * there, and sends that alone: what is small by one request, what is large in parts.
 */
import { StowageError } from "../../errors.ts";
import type { Receipt } from "../../load/receipt.ts";
import type { CommandIo } from "../command.ts";
import { formatBytes } from "../format.ts";
import type { OpenInput } from "../open-input.ts";
import { type Missing, askMissing } from "./ask-missing.ts";
import type { Content } from "./content.ts";
import { type MakeContentOptions, type ScannedArchive, makeContent } from "./make-content.ts";
import { scanInput } from "./scan-input.ts";
import { type SendContentOptions, sendContent } from "./send-content.ts";
import { type TemporaryFile, openTemporaryFile } from "./temporary-file.ts";

/** How often it begins anew when an upload is gone before it is loaded. */
const maxRuns = 3;

export interface SendArchiveOptions extends Pick<SendContentOptions, "service" | "name"> {
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

interface SendScannedOptions extends SendArchiveOptions, Pick<MakeContentOptions, "openTemporary"> {
  readonly title: string;
}

async function sendScanned(archive: ScannedArchive, options: SendScannedOptions): Promise<Receipt> {
  const { service, io } = options;
  const digests = [...new Set(archive.entries.flatMap(({ digest }) => (digest === undefined ? [] : [digest])))];
  for (let run = 1; run <= maxRuns; run += 1) {
    const missing = await askMissing(digests, { service, signal: io.signal });
    const receipt = await sendMissing(archive, { ...options, digests, missing });
    if (receipt !== "gone") return receipt;
    const reason = "it has expired, or somebody else had it loaded";
    io.stderr.write(`The upload is gone: ${reason}. Asking again what is missing\n`);
  }
  throw service.failed(`its uploads are gone before they are loaded, ${maxRuns} times now`);
}

interface SendMissingOptions extends SendScannedOptions {
  readonly digests: readonly string[];
  readonly missing: Missing | "unsupported";
}

async function sendMissing(
  archive: ScannedArchive,
  { digests, missing, ...options }: SendMissingOptions,
): Promise<Receipt | "gone"> {
  const { io } = options;
  const isKnown = missing !== "unsupported";
  const directBytes = isKnown ? missing.directBytes : undefined;
  const present = new Set(isKnown ? digests.filter((digest) => !missing.digests.has(digest)) : []);
  const send = async (skipped: ReadonlySet<string>): Promise<Receipt | "gone"> => {
    const content = await makeContent(archive, { ...options, present: skipped, signal: io.signal });
    const blobs = `${skipped.size} of ${digests.length} blobs`;
    if (skipped.size > 0) io.stderr.write(describeSkipped(archive, content, blobs));
    return sendContent(content, { ...options, directBytes });
  };
  try {
    return await send(present);
  } catch (error) {
    if (!isAboutOneOf(present, error)) throw error;
    io.stderr.write("A blob that was there is gone or damaged: sending all of them\n");
    return send(new Set());
  }
}

function describeSkipped({ size }: ScannedArchive, content: Content, blobs: string): string {
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
