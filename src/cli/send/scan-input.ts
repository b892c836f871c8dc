/** Reads the input to its end: a file where it is, anything else while it is set aside in a temporary file. */
import { abortable } from "../../streams/abortable.ts";
import type { CommandIo } from "../command.ts";
import { formatBytes } from "../format.ts";
import type { OpenInput } from "../open-input.ts";
import { startProgress } from "../progress.ts";
import { watched } from "../watched.ts";
import type { MakeContentOptions, ScannedArchive } from "./make-content.ts";
import { scanArchive } from "./scan-archive.ts";
import type { TemporaryFile } from "./temporary-file.ts";

export interface ScanInputOptions extends Pick<MakeContentOptions, "openTemporary"> {
  readonly io: Pick<CommandIo, "stderr" | "signal">;
}

/** Throws what is wrong with the archive, at once, and the signal's reason. */
export async function scanInput(input: OpenInput, { io, openTemporary }: ScanInputOptions): Promise<ScannedArchive> {
  const { name, file, size } = input;
  const length = size === undefined ? "" : ` (${formatBytes(size)})`;
  const progress = startProgress(io.stderr, { title: `Reading ${name}${length}`, totalBytes: size });
  try {
    const source = abortable(
      watched(input.source, (bytes) => progress.advance(bytes)),
      io.signal,
    );
    if (file !== undefined && size !== undefined) return { file, size, entries: await scanArchive(source) };
    const copy = await openTemporary();
    const entries = await scanArchive(keep(source, copy));
    return { file: copy.handle, size: copy.size(), entries };
  } finally {
    progress.stop();
  }
}

async function* keep(source: AsyncIterable<Uint8Array>, copy: TemporaryFile): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    await copy.append(chunk);
    yield chunk;
  }
}
