/**
 * The body of a large answer. While other requests wait, a slow reader gives back its connection to the store, or is
 * cut off. Only the time between a sent chunk and the client's next read counts: a slow store is not the client's
 * fault.
 */
import { StowageError } from "../errors.ts";
import type { Line, Release } from "../streams/line.ts";
import type { RequestRecord } from "./request-record.ts";

/** The stream looks at its reader this often. */
const lookMs = 250;
/** A reader that is slower over this time gives its connection to the store back. */
const yieldPace = { windowMs: 1000, minBytesPerSecond: 1024 * 1024 };
/** A reader that is slower over this time is cut off. */
const cutPace = { windowMs: 5000, minBytesPerSecond: 64 * 1024 };
/** The limit for a reader whose caller holds more than its share while others wait. */
const overdrawnBytesPerSecond = 1024 * 1024;

export interface AnswerSource extends AsyncIterator<Uint8Array> {
  /** Gives back the connection that others wait for. The source can acquire it again. Returns false if nobody waits. */
  yieldToOthers?(): boolean;
}

/** The part of `RequestRecord` that an answer fills. */
type AnswerRecord = Pick<RequestRecord, "bytesOut" | "failure" | "isStreamWhole">;

export interface AnswerHold {
  readonly caller: string;
  /** The line from which the answer holds units until its end. */
  readonly line: Line;
  readonly release: Release;
  /** Ends the answer with the request. */
  readonly signal: AbortSignal;
  /** Gets the bytes of the answer, and the error that ends it. */
  readonly record: AnswerRecord | undefined;
  /**
   * Called with the reason when a reader is cut off. Returns true if it has closed the client's connection, which ends
   * the stream.
   */
  readonly onCut: (reason: StowageError) => boolean;
}

/** Streams a source and releases the hold at its end. */
export function answerStream(source: AnswerSource, hold: AnswerHold): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(new Answer(source, hold), { highWaterMark: 0 });
}

type Controller = ReadableStreamDefaultController<Uint8Array>;

/** The underlying source of the stream. */
class Answer {
  readonly #source: AnswerSource;
  readonly #hold: AnswerHold;
  readonly #yieldPace = new ReaderPace(yieldPace.windowMs);
  readonly #cutPace = new ReaderPace(cutPace.windowMs);
  readonly #onAbort = (): void => void this.#end(this.#hold.signal.reason);
  #timer: ReturnType<typeof setInterval> | undefined;
  /** The start of the reader's time that is not counted yet. Undefined while a chunk is awaited from the store. */
  #idleSinceMs: number | undefined = performance.now();
  /** Why the answer ended before its last byte. */
  #failure: unknown;
  #hasEnded = false;

  constructor(source: AnswerSource, hold: AnswerHold) {
    this.#source = source;
    this.#hold = hold;
  }

  start(controller: Controller): void {
    const timer: ReturnType<typeof setInterval> | number = setInterval(() => this.#look(controller), lookMs);
    if (typeof timer === "object" && "unref" in timer) timer.unref(); // a number on workerd
    this.#timer = timer;
    const { signal } = this.#hold;
    signal.addEventListener("abort", this.#onAbort, { once: true });
    if (signal.aborted) this.#onAbort();
  }

  async pull(controller: Controller): Promise<void> {
    if (this.#hasEnded) throw this.#failure;
    this.#countIdleTime();
    this.#idleSinceMs = undefined;
    const { record } = this.#hold;
    try {
      const next = await this.#source.next();
      if (this.#hasEnded) throw this.#failure;
      if (next.done === true) {
        if (record !== undefined) record.isStreamWhole = true;
        await this.#end();
        controller.close();
        return;
      }
      if (record !== undefined) record.bytesOut += next.value.length;
      this.#idleSinceMs = performance.now();
      this.#yieldPace.add(next.value.length, 0);
      this.#cutPace.add(next.value.length, 0);
      controller.enqueue(next.value);
    } catch (error) {
      if (record !== undefined && !this.#hasEnded) record.failure ??= asError(error);
      await this.#end(error);
      throw error;
    }
  }

  async cancel(): Promise<void> {
    await this.#end();
  }

  /** Releases everything. Only the first call counts. */
  async #end(failure?: unknown): Promise<void> {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#failure = failure;
    clearInterval(this.#timer);
    this.#hold.signal.removeEventListener("abort", this.#onAbort);
    this.#hold.release();
    await this.#source.return?.().then(undefined, () => undefined); // the client can no longer be told
  }

  #look(controller: Controller): void {
    if (this.#idleSinceMs === undefined) return;
    this.#countIdleTime();
    const { line, caller } = this.#hold;
    if (line.hasWaiters) {
      const min = line.isOverdrawn(caller) ? overdrawnBytesPerSecond : cutPace.minBytesPerSecond;
      if (this.#cutPace.bytesPerSecond < min) return this.#cut(controller, min);
    }
    const isSlow = this.#yieldPace.bytesPerSecond < yieldPace.minBytesPerSecond;
    if (isSlow && this.#source.yieldToOthers?.() === true) this.#yieldPace.reset();
  }

  #countIdleTime(): void {
    if (this.#idleSinceMs === undefined) return;
    const now = performance.now();
    this.#yieldPace.add(0, now - this.#idleSinceMs);
    this.#cutPace.add(0, now - this.#idleSinceMs);
    this.#idleSinceMs = now;
  }

  #cut(controller: Controller, min: number): void {
    const seconds = cutPace.windowMs / 1000;
    const error = new StowageError(
      "TIMED_OUT",
      `Cannot send on: the client read less than ${min} bytes a second for ${seconds} seconds, while others wait`,
      { detail: { expected: min, seconds } },
    );
    void this.#end(error);
    if (!this.#hold.onCut(error)) controller.error(error);
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** How fast a reader was in the last full window of its own time. */
class ReaderPace {
  bytesPerSecond = Number.POSITIVE_INFINITY;
  readonly #windowMs: number;
  #bytes = 0;
  #ms = 0;

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  add(bytes: number, ms: number): void {
    this.#bytes += bytes;
    this.#ms += ms;
    if (this.#ms < this.#windowMs) return;
    const bytesPerSecond = this.#bytes / (this.#ms / 1000);
    this.reset();
    this.bytesPerSecond = bytesPerSecond;
  }

  reset(): void {
    this.bytesPerSecond = Number.POSITIVE_INFINITY;
    this.#bytes = 0;
    this.#ms = 0;
  }
}
