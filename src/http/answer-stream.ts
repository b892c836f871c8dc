/**
 * The stream of an answer, watched while it is read. Time counts only while the client does not ask for more: a store that
 * is slow is not the client's doing. What a slow client holds is given back as soon as others wait for it.
 */
import { StowageError } from "../errors.ts";

/** A reader is looked at this often. */
const lookMs = 250;
/** A reader that takes less in this time gives its connection to the store back, while others wait for one. */
const rest = { ms: 1000, pace: 1024 * 1024 };
/** A reader that takes less in this time is cut off, while others wait for what only its end gives back. */
const cut = { ms: 5000, pace: 64 * 1024 };
/** The same, if others wait for what this reader's caller has beyond its share. */
const overdrawnPace = 1024 * 1024;

export interface AnswerSource extends AsyncIterator<Uint8Array> {
  /** Gives back what can be had again. Called only between two chunks. */
  rest?(): Promise<void>;
}

export interface AnswerRules {
  /** The request's. Its end is the answer's end. */
  readonly signal: AbortSignal;
  /** Do others wait for what `rest` gives back? */
  readonly isRestWanted: () => boolean;
  /** Do others wait for what only the end of an answer gives back? */
  readonly isEndWanted: () => boolean;
  readonly isOverdrawn: () => boolean;
  /** Told why a reader is cut off. Returns true if it has closed the client's connection: the stream then ends by that. */
  readonly onCut: (reason: StowageError) => boolean;
  /** Called once, however the answer ends. */
  readonly onEnd: () => void;
}

/** Streams a source. A reader that is too slow is cut off while others wait. */
export function answerStream(source: AnswerSource, rules: AnswerRules): ReadableStream<Uint8Array> {
  const answer = new Answer(source, rules);
  return new ReadableStream<Uint8Array>(
    {
      start: (controller) => answer.start(controller),
      pull: async (controller) => answer.pull(controller),
      cancel: async () => answer.end(),
    },
    { highWaterMark: 0 },
  );
}

type Controller = ReadableStreamDefaultController<Uint8Array>;

class Answer {
  readonly #source: AnswerSource;
  readonly #rules: AnswerRules;
  readonly #restPace = new Pace(rest.ms);
  readonly #cutPace = new Pace(cut.ms);
  readonly #onAbort = (): void => void this.end(this.#rules.signal.reason);
  #timer: ReturnType<typeof setInterval> | undefined;
  /** From when on the reader's time is still to be counted. Undefined while a chunk is on its way from the store. */
  #idleSinceMs: number | undefined = performance.now();
  /** Why the answer ended before its last byte. */
  #failure: unknown;
  #hasEnded = false;

  constructor(source: AnswerSource, rules: AnswerRules) {
    this.#source = source;
    this.#rules = rules;
  }

  start(controller: Controller): void {
    const timer: ReturnType<typeof setInterval> | number = setInterval(() => this.#look(controller), lookMs);
    if (typeof timer === "object" && "unref" in timer) timer.unref(); // a number on workerd
    this.#timer = timer;
    this.#rules.signal.addEventListener("abort", this.#onAbort, { once: true });
    if (this.#rules.signal.aborted) this.#onAbort();
  }

  async pull(controller: Controller): Promise<void> {
    if (this.#hasEnded) throw this.#failure;
    this.#measure();
    this.#idleSinceMs = undefined;
    try {
      const next = await this.#source.next();
      if (this.#hasEnded) throw this.#failure;
      if (next.done === true) {
        await this.end();
        controller.close();
        return;
      }
      this.#idleSinceMs = performance.now();
      this.#restPace.addBytes(next.value.length);
      this.#cutPace.addBytes(next.value.length);
      controller.enqueue(next.value);
    } catch (error) {
      await this.end(error);
      throw error;
    }
  }

  /** Gives back everything. Only the first call counts. */
  async end(failure?: unknown): Promise<void> {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#failure = failure;
    clearInterval(this.#timer);
    const { signal, onEnd } = this.#rules;
    signal.removeEventListener("abort", this.#onAbort);
    onEnd();
    await this.#source.return?.().then(undefined, () => undefined); // nobody is left who could be told
  }

  #look(controller: Controller): void {
    if (this.#idleSinceMs === undefined) return;
    this.#measure();
    const { isRestWanted, isEndWanted, isOverdrawn } = this.#rules;
    if (isEndWanted()) {
      const least = isOverdrawn() ? overdrawnPace : cut.pace;
      if (this.#cutPace.latest < least) return this.#cut(controller, least);
    }
    if (this.#restPace.latest < rest.pace && isRestWanted()) {
      this.#restPace.reset();
      void this.#source.rest?.().then(undefined, () => undefined);
    }
  }

  /** Counts the reader's time until now. */
  #measure(): void {
    if (this.#idleSinceMs === undefined) return;
    const now = performance.now();
    this.#restPace.addTime(now - this.#idleSinceMs);
    this.#cutPace.addTime(now - this.#idleSinceMs);
    this.#idleSinceMs = now;
  }

  #cut(controller: Controller, least: number): void {
    const error = new StowageError(
      "TIMED_OUT",
      `Cannot send on: the client read less than ${least} bytes a second for ${cut.ms / 1000} seconds, while others wait`,
      { detail: { expected: least, seconds: cut.ms / 1000 } },
    );
    void this.end(error);
    if (!this.#rules.onCut(error)) controller.error(error);
  }
}

/** How many bytes a reader takes in a second of its own time. */
class Pace {
  /** Of the while that was measured last. */
  latest = Number.POSITIVE_INFINITY;
  readonly #whileMs: number;
  #bytes = 0;
  #ms = 0;

  constructor(whileMs: number) {
    this.#whileMs = whileMs;
  }

  addBytes(bytes: number): void {
    this.#bytes += bytes;
  }

  addTime(ms: number): void {
    this.#ms += ms;
    if (this.#ms < this.#whileMs) return;
    const latest = this.#bytes / (this.#ms / 1000);
    this.reset();
    this.latest = latest;
  }

  reset(): void {
    this.latest = Number.POSITIVE_INFINITY;
    this.#bytes = 0;
    this.#ms = 0;
  }
}
