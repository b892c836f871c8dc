/** Shows on stderr how far a long piece of work has come: a bar on a terminal, a line now and then in a log. */
import { SingleBar } from "cli-progress";
import type { Output } from "./command.ts";
import { formatBytes, formatSeconds } from "./format.ts";

/** A log gets a line this often: it shows that the work goes on, and does not drown in it. */
const logIntervalMs = 10_000;
const barsPerSecond = 5;

export interface Progress {
  /** So many bytes more are done; fewer, where some have to be done again. */
  advance(bytes: number): void;
  /** Counts anew from here: so many bytes are there already, and say nothing of how fast it goes. */
  startFrom(bytes: number): void;
  /** All bytes are done, what follows takes time as well. */
  finish(): void;
  /** Takes the bar away while something is written that must not run into it. */
  hideDuring(write: () => void): void;
  /** Takes the bar away. To be called whatever happens: it keeps the process alive. */
  stop(): void;
}

export interface ProgressOptions {
  /** What is being done, for a log. */
  readonly title: string;
  /** Length of the work in bytes, where it is known beforehand. */
  readonly totalBytes?: number | undefined;
}

export function startProgress(stderr: Output, options: ProgressOptions): Progress {
  return stderr.isTTY === true ? startBar(stderr, options) : startLog(stderr, options);
}

function startBar(stderr: Output, { totalBytes }: ProgressOptions): Progress {
  const meter = startMeter(totalBytes);
  const bar = new SingleBar({
    stream: stderr,
    fps: barsPerSecond,
    format: totalBytes === undefined ? "{text}" : "[{bar}] {text}",
    barsize: 24,
    clearOnComplete: true,
    linewrap: true, // lines are cut; to switch the terminal's wrapping off would outlive a kill
    gracefulExit: false, // the command ends by its signal
  });
  const payload = {
    /** Asked at each drawing, so that it is true also while nothing goes on. */
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

function startLog(stderr: Output, { title, totalBytes }: ProgressOptions): Progress {
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
  /** `512 MiB of 1.25 GiB (40 %), 51 MiB/s, 15 s left`, and at last `1.25 GiB, finishing`. */
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

/** A stream that tells of each chunk once it has been taken, for whoever shows how far the work has come. */
export async function* watched(
  source: AsyncIterable<Uint8Array>,
  advance: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    yield chunk;
    advance(chunk.length);
  }
}
