/**
 * Work whose result many requests want at the same time, such as a read of one index. The work is done in batches, one
 * after the other. A request that comes during a batch waits for the next batch. All requests that wait share the next
 * batch. So no request gets a result that is older than the request.
 *
 * This is no line (`line.ts`): a waiting request needs the result of another request, and no turn of its own.
 *
 * The first request of a batch does the work. On Workers, this request may be stopped, and its work stops with it. So
 * every wait for another request has an end.
 */
import { StowageError } from "../errors.ts";
import { orAbort } from "./abortable.ts";

interface BatchesOptions<Input> {
  /**
   * Most batches take less time. If a batch takes longer, the request that does its work counts as gone, and the next
   * batch begins.
   */
  readonly maxMs: number;
  /** Can these inputs go together? By default all can. */
  readonly fits?: (inputs: readonly Input[]) => boolean;
  /** Does the error of a batch end the waits for the next batch too? By default it does not. */
  readonly endsWaits?: (error: unknown) => boolean;
}

/** Does the work for all requests of a batch. */
type Work<Input, Result> = (inputs: readonly Input[]) => Promise<Result>;

export class Batches<Input, Result> {
  readonly #options: BatchesOptions<Input>;
  /** By key, the latest batch, until it is over. */
  readonly #latest = new Map<string, Batch<Input, Result>>();

  constructor(options: BatchesOptions<Input>) {
    this.#options = options;
  }

  /**
   * Returns the result of a batch that begins now or later, and the place of the input among the inputs of the batch.
   * Returns undefined if the batch's first request is gone. Then it is not known whether the work was done. The signal
   * ends the wait, not the work.
   */
  async join(
    key: string,
    input: Input,
    work: Work<Input, Result>,
    signal?: AbortSignal,
  ): Promise<{ readonly result: Result; readonly place: number } | undefined> {
    const { maxMs, fits } = this.#options;
    const latest = this.#latest.get(key);
    if (latest === undefined || latest.hasBegun || fits?.([...latest.inputs, input]) === false) {
      const batch = new Batch<Input, Result>(input, async (own) => this.#run(key, own, latest, work));
      this.#latest.set(key, batch);
      return { result: await orAbort(batch.result, signal), place: 0 };
    }
    const member = { input };
    latest.members.push(member);
    const wait = async (): Promise<boolean> => orAbort(resolvesWithin(latest.result, maxMs), signal);
    const isOver = (await wait()) || (latest.hasBegun && (await wait())); // first the former batch ends, then this one
    if (isOver) return { result: await latest.result, place: latest.members.indexOf(member) };
    this.#forget(key, latest);
    if (latest.hasBegun) return undefined;
    latest.members.splice(latest.members.indexOf(member), 1);
    return this.join(key, input, work, signal);
  }

  async #run(
    key: string,
    own: Batch<Input, Result>,
    former: Batch<Input, Result> | undefined,
    work: Work<Input, Result>,
  ): Promise<Result> {
    const { maxMs, endsWaits = () => false } = this.#options;
    const ignore = (error: unknown): void => {
      if (endsWaits(error)) throw error;
    };
    try {
      if (former !== undefined) await resolvesWithin(former.result.catch(ignore), maxMs);
      own.hasBegun = true;
      return await work(own.inputs);
    } finally {
      this.#forget(key, own);
    }
  }

  #forget(key: string, batch: Batch<Input, Result>): void {
    if (this.#latest.get(key) === batch) this.#latest.delete(key);
  }
}

class Batch<Input, Result> {
  readonly members: { readonly input: Input }[];
  /** A batch that has begun takes no more members. */
  hasBegun = false;
  readonly result: Promise<Result>;

  constructor(input: Input, run: (batch: Batch<Input, Result>) => Promise<Result>) {
    this.members = [{ input }];
    this.result = run(this);
  }

  get inputs(): readonly Input[] {
    return this.members.map(({ input }) => input);
  }
}

/** One result for many requests: work without an input of each request. It may be done again. */
export class SharedWork<Result> extends Batches<undefined, Result> {
  /** If the store does not answer, the waiting requests fail too: the store has been asked several times already. */
  constructor(maxMs: number) {
    super({ maxMs, endsWaits: (error) => error instanceof StowageError && error.code === "STORE_UNAVAILABLE" });
  }

  /** Does the work, or waits for the work of another request. The signal ends the wait, not the work. */
  async resultOf(key: string, work: () => Promise<Result>, signal?: AbortSignal): Promise<Result> {
    const joined = await this.join(key, undefined, work, signal);
    return joined === undefined ? this.resultOf(key, work, signal) : joined.result;
  }
}

/** Waits for a promise, but no longer than `ms` milliseconds. Returns whether the promise resolved in time. */
async function resolvesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), ms)));
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
