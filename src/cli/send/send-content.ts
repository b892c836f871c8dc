/** Sends what was decided to be sent, by one request or in parts, and shows how far it has come. */
import type { Receipt } from "../../load/receipt.ts";
import type { ImageName } from "../../oci/reference.ts";
import type { CommandIo } from "../command.ts";
import { formatBytes } from "../format.ts";
import { startProgress } from "../progress.ts";
import { watched } from "../watched.ts";
import type { Content } from "./content.ts";
import type { Answer } from "./exchange.ts";
import { type SendOptions, sendInParts } from "./send-in-parts.ts";
import { type ServiceClient, isSuccess } from "./service-client.ts";
import { tryAgain } from "./try-again.ts";

export interface SendContentOptions {
  readonly service: ServiceClient;
  readonly name: ImageName | undefined;
  /** What is sent, for a log. */
  readonly title: string;
  /** What is larger goes in parts, where the service takes them; undefined: it takes none. */
  readonly directBytes: number | undefined;
  readonly io: Pick<CommandIo, "stderr" | "signal">;
}

/** Returns the receipt, or `gone` as `sendInParts` does. */
export async function sendContent(content: Content, options: SendContentOptions): Promise<Receipt | "gone"> {
  const { service, name, title, io, directBytes = Number.POSITIVE_INFINITY } = options;
  const progress = startProgress(io.stderr, {
    title: `Loading ${title} (${formatBytes(content.size)}) into ${service.name}`,
    totalBytes: content.size,
  });
  const tell = (line: string): void => progress.aside(() => io.stderr.write(`${line}\n`));
  const sending: SendOptions = { service, name, signal: io.signal, progress, tell };
  try {
    const receipt = content.size > directBytes ? await sendInParts(content, sending) : "unsupported";
    return receipt === "unsupported" ? await sendAtOnce(content, sending) : receipt;
  } finally {
    progress.stop();
  }
}

async function sendAtOnce(content: Content, { service, name, signal, progress }: SendOptions): Promise<Receipt> {
  const put = async (): Promise<Answer> => {
    let sent = 0;
    const source = watched(content.read(), (bytes) => {
      sent += bytes;
      progress.advance(bytes);
      if (sent === content.size) progress.finish();
    });
    let isTaken = false;
    try {
      const answer = await service.put({ source, size: content.size }, { name, signal });
      isTaken = isSuccess(answer);
      return answer;
    } finally {
      if (!isTaken) progress.advance(-sent);
    }
  };
  return service.readReceipt(await service.attempt(tryAgain(put, { signal })));
}
