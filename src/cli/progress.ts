/** Shows the progress of long work on stderr: as a bar on a terminal, or as a line now and then in a log. */
import { SingleBar } from "cli-progress";
import type { Output } from "./command.ts";
import { formatBytes, formatSeconds } from "./format.ts";

/** A log gets a line this often. */
const logIntervalMs = 10_000;
const barsPerSecond = 5;

export interface Progress {
  /** Adds done bytes. A negative number is for bytes that have to be done again. */
  advance(bytes: number): void;
  /** Starts again with bytes that are already done. They do not count for the rate. */
  startFrom(bytes: number): void;
  /** All bytes are done. The work after that takes time too. */
  finish(): void;
  /** Hides the bar during a write to the terminal. */
  hideDuring(write: () => void): void;
  /** Removes the bar. Must be called, also after an error: the bar keeps the process alive. */
  stop(): void;
}

/** A log begins with the title. Without `totalBytes` the length of the work is unknown. */
export function startProgress(
  stderr: Output,
  { title, totalBytes }: { readonly title: string; readonly totalBytes?: number | undefined },
): Progress {
  return stderr.isTTY === true ? startBar(stderr, totalBytes) : startLog(stderr, title, totalBytes);
}

function startBar(stderr: Output, totalBytes: number | undefined): Progress {
  const meter = startMeter(totalBytes);
  const bar = new SingleBar({
    stream: stderr,
    fps: barsPerSecond,
    format: totalBytes === undefined ? "{text}" : "[{bar}] {text}",
    barsize: 24,
    clearOnComplete: true,
    linewrap: true, // `false` turns wrapping off, also after a kill; lines are cut anyway
    gracefulExit: false, // the command ends by its signal
  });
  const payload = {
    /** Computed at each drawing, so that the rate falls while nothing happens. */
    get text(): string {
      return meter.text();
    },
  };
  const draw = (): void => bar.start(totalBytes ?? 0, meter.bytes(), payload);
  draw();
  return {
    advance(bytes) {
      meter.add(bytes);
      bar.update(meter.bytes());
    },
    startFrom(bytes) {
      meter.startFrom(bytes);
      bar.update(bytes);
    },
    finish: () => meter.finish(),
    hideDuring(write) {
      bar.stop();
      write();
      draw();
    },
    stop: () => bar.stop(),
  };
}

function startLog(stderr: Output, title: string, totalBytes: number | undefined): Progress {
  const meter = startMeter(totalBytes);
  stderr.write(`${title}\n`);
  const timer = setInterval(() => stderr.write(`  ${meter.text()}\n`), logIntervalMs);
  return {
    advance: (bytes) => meter.add(bytes),
    startFrom: (bytes) => meter.startFrom(bytes),
    finish: () => meter.finish(),
    hideDuring: (write) => write(),
    stop: () => clearInterval(timer),
  };
}

interface Meter {
  add(bytes: number): void;
  startFrom(bytes: number): void;
  finish(): void;
  bytes(): number;
  /** `512 MiB of 1.25 GiB (40 %), 51 MiB/s, 15 s left`, and in the end `1.25 GiB, finishing`. */
  text(): string;
}

function startMeter(totalBytes: number | undefined): Meter {
  let startedMs = Date.now();
  let startedAt = 0;
  let done = 0;
  let isFinishing = false;
  return {
    add: (bytes) => void (done += bytes),
    startFrom(bytes) {
      startedMs = Date.now();
      startedAt = bytes;
      done = bytes;
      isFinishing = false;
    },
    finish: () => void (isFinishing = true),
    bytes: () => done,
    text() {
      if (isFinishing) return `${formatBytes(done)}, finishing`;
      const bytesPerSecond = (done - startedAt) / Math.max((Date.now() - startedMs) / 1000, 0.001);
      const rate = `${formatBytes(bytesPerSecond)}/s`;
      if (totalBytes === undefined) return `${formatBytes(done)}, ${rate}`;
      const percent = totalBytes === 0 ? 100 : Math.floor((100 * done) / totalBytes);
      const left = done === startedAt ? "" : `, ${formatSeconds((totalBytes - done) / bytesPerSecond)} left`;
      return `${formatBytes(done)} of ${formatBytes(totalBytes)} (${percent} %), ${rate}${left}`;
    },
  };
}

/** Passes on a stream. Reports the length of each chunk after the reader has taken it. */
export async function* reportChunks(
  source: AsyncIterable<Uint8Array>,
  advance: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    yield chunk;
    advance(chunk.length);
  }
}
