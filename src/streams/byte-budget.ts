/**
 * The memory that all requests of a process share: for bodies on their way to the store, for zstd windows, and for JSON
 * while it is parsed. If too little memory is free, a request waits in line, fair by caller (`line.ts`). Meanwhile
 * nothing is read for the request, so TCP slows its client down.
 *
 * A hold is memory, or a turn, that one request has. Every wait ends, because a request waits only for holds that end
 * before its own. The holds, from the shortest to the longest, and why each ends:
 *
 * - `take` is for one body: a blob, a part, a small request. Its bytes come from a client or go to the store. A silent
 *   client is cut off. A load that waits for its next blob still writes its earlier blobs and gives their bytes back.
 *   So this hold waits for no other one, with one exception: the request of a pushed manifest may wait for `keepJson`.
 *   That wait ends after ten seconds, because a request with kept JSON may wait for `take`.
 * - `manifestMemory` is for one manifest that a client pulls, while it is read and parsed. It waits for no other hold.
 * - `ask` is for one question to the store, such as a HEAD.
 * - `parse` and `parseMemory` are for one text while it is read from the store and parsed. That may need an `ask`.
 * - `commitMemory` is for the index that a commit changes, from the commit's first read to its last write.
 * - `keepJson` is for large indexes or configs that a load keeps. A load has one such hold at a time. It waits for this
 *   hold without any of the holds above. With this hold, it may wait for them.
 * - `takeLasting` is for a zstd window. A load takes it first and once, so it waits with no other hold. With this hold,
 *   it may wait for all others.
 *
 * All windows together leave `blobBytes` free, so that a blob gets its turn even if no window is given back. Windows do
 * not count for their caller's share: otherwise the caller's own blobs would wait for its windows.
 */
import { StowageError } from "../errors.ts";
import { type AcquireOptions, type Release, Line } from "./line.ts";

/** Bytes that windows leave free: two parts of the largest streamed blob, and some for others. */
const blobBytes = 32 * 1024 * 1024;
/** Bytes of JSON text that are parsed at the same time. The parsed values take up to twelve times as much. */
const maxJsonBytes = 16 * 1024 * 1024;
/** A JSON text of up to this many bytes is parsed without a turn. */
const freeJsonBytes = 64 * 1024;
/** Bytes of the indexes that commits change at the same time: the size of the largest index. */
const maxCommitBytes = 32 * 1024 * 1024;
/** Manifests for clients that pull may take this part of all bytes, while they are read and checked. */
const manifestFraction = 1 / 4;
/** Bytes of large indexes and configs that loads keep: enough for two loads. */
const maxKeptJsonBytes = 32 * 1024 * 1024;
/** Questions to the store at the same time, while long lists are processed. */
const maxQuestions = 32;
/** The caller of work that names none. */
const defaultCaller = "anyone";

/** Who wants the work: the caller that it counts for in every line, and the signal that ends it. */
export interface Requester {
  /** Callers that wait get equal shares. Work without a caller counts for the caller `anyone`. */
  readonly caller?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Who takes bytes from a budget, and how long it waits for them. */
export type TakeOptions = Requester & Pick<AcquireOptions, "maxWaitMs" | "givesWay">;

/** The memory that all requests of a process share. */
export class ByteBudget {
  /** The whole budget. */
  readonly maxBytes: number;
  /** `take` refuses a larger number of bytes. */
  readonly maxTakeBytes: number;
  readonly #maxLastingBytes: number;
  /** Bytes of bodies and of windows. A hold for a body needs no other hold, so each wait here ends. */
  readonly #main: Line;
  /** Bytes of windows. A load waits here first, without any hold. Then it takes the same bytes in the main line. */
  readonly #lasting: Line;
  /** Bytes of JSON texts while they are read and parsed. A hold may wait for a turn to ask. */
  readonly #json = new Line({ capacity: maxJsonBytes, units: "bytes of JSON", limit: "maxJsonBytes" });
  /**
   * Bytes of indexes and configs that loads keep. A load with a hold may wait for all other lines except the windows.
   */
  readonly #kept = new Line({ capacity: maxKeptJsonBytes, units: "bytes of JSON", limit: "maxKeptJsonBytes" });
  /** Bytes of indexes and intents that commits change. A commit holds them from its first read to its last write. */
  readonly #commits = new Line({ capacity: maxCommitBytes, units: "bytes of indexes", limit: "maxCommitBytes" });
  /** Bytes of manifests that clients pull. They have their own line, so that many pulls leave memory for loads. */
  readonly #manifests: Line;
  /** Questions to the store. A hold lasts for one question and waits for nothing. */
  readonly #questions = new Line({ capacity: maxQuestions, units: "questions to the store", limit: "maxQuestions" });

  /** With less than 10 MiB, large blobs are refused: a blob that is streamed into S3 takes two parts of 5 MiB. */
  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
    this.#maxLastingBytes = Math.max(0, Math.min(Math.floor(maxBytes / 2), maxBytes - blobBytes));
    this.maxTakeBytes = maxBytes - this.#maxLastingBytes;
    const names = { units: "bytes", limit: "maxBufferBytes" };
    this.#manifests = new Line({ capacity: Math.ceil(manifestFraction * maxBytes), ...names });
    this.#main = new Line({ capacity: maxBytes, ...names });
    this.#lasting = new Line({ capacity: Math.max(1, this.#maxLastingBytes), ...names });
  }

  /** The line for the bytes of bodies and windows, for the metrics. */
  get memory(): Pick<Line, "capacity" | "held" | "waiting"> {
    return this.#main;
  }

  /** Does a request wait for bytes that others hold? */
  get isCrowded(): boolean {
    return this.#main.isCrowded || this.#lasting.isCrowded;
  }

  /** Does a request wait for bytes, also one that waits only for its own caller's share? */
  get hasWaiters(): boolean {
    return this.#main.hasWaiters;
  }

  /** Does this caller hold more than its share, by several holds, while another waits? */
  isOverdrawn(caller: string): boolean {
    return this.#main.isOverdrawn(caller) || this.#lasting.isOverdrawn(caller);
  }

  /**
   * Takes `bytes` for a body as soon as they are free. Zero bytes need no wait. Throws `LIMIT_EXCEEDED` for more bytes
   * than `maxTakeBytes`.
   */
  async take(bytes: number, options: TakeOptions): Promise<Release> {
    if (bytes === 0) return () => undefined;
    if (bytes <= this.maxTakeBytes) return this.#main.acquire(bytes, withCaller(options));
    throw new StowageError(
      "LIMIT_EXCEEDED",
      `Cannot hold ${bytes} bytes at once: maxBufferBytes allows ${this.maxBytes} for the whole process, ${this.maxTakeBytes} for one blob`,
      { detail: { limit: "maxBufferBytes", found: bytes, expected: this.maxTakeBytes } },
    );
  }

  /** Takes more bytes for a body that holds some, if they are free and no other request waits for them. */
  tryTake(bytes: number, { caller = defaultCaller }: Pick<TakeOptions, "caller">): Release | undefined {
    return bytes > this.maxBytes ? undefined : this.#main.tryAcquire(bytes, { caller });
  }

  /**
   * Takes bytes for a window. A load does this before it takes any other bytes, and keeps the window to its end. A
   * window that is larger than the limit of all windows takes just that limit. The decoder has its own cap.
   */
  async takeLasting(bytes: number, options: TakeOptions): Promise<Release> {
    const endTurn = await this.#lasting.acquire(Math.min(bytes, this.#lasting.capacity), withCaller(options));
    try {
      const held = Math.min(bytes, this.#maxLastingBytes);
      const release = await this.#main.acquire(held, { ...withCaller(options), isCounted: false });
      return () => {
        release();
        endTurn();
      };
    } catch (error) {
      endTurn();
      throw error;
    }
  }

  /**
   * Does work that reads and parses JSON texts of `bytes` bytes together, when it is this caller's turn. Short texts
   * need no turn. The work may `ask` the store.
   */
  async parse<T>(bytes: number, work: () => T | Promise<T>, options: TakeOptions): Promise<T> {
    if (bytes <= freeJsonBytes) return work();
    const memory = this.parseMemory(options);
    await memory.hold(bytes);
    try {
      return await work();
    } finally {
      memory.release();
    }
  }

  /** Memory for a JSON text whose length is not known yet. It holds nothing at first. */
  parseMemory(options: TakeOptions): LineMemory {
    return new LineMemory(this.#json, withCaller(options));
  }

  /**
   * Memory for one manifest that a client pulls. It holds nothing at first. A request may hold it together with
   * `parseMemory`.
   */
  manifestMemory(options: TakeOptions): LineMemory {
    return new LineMemory(this.#manifests, withCaller(options));
  }

  /** Memory for the index that one commit changes, and for the intents that it merges. It holds nothing at first. */
  commitMemory(options: TakeOptions): LineMemory {
    return new LineMemory(this.#commits, withCaller(options));
  }

  /**
   * Asks the store about one of many objects, when it is this caller's turn. Each question takes time and memory.
   * Without turns, lists of many thousand objects would make other requests wait.
   */
  async ask<T>(question: () => Promise<T>, options: TakeOptions): Promise<T> {
    return this.#questions.inTurn(withCaller(options), question);
  }

  /** Takes bytes for all large indexes and configs that a load keeps. */
  async keepJson(bytes: number, options: TakeOptions): Promise<Release> {
    return this.#kept.acquire(Math.min(bytes, maxKeptJsonBytes), withCaller(options));
  }
}

function withCaller({ caller = defaultCaller, ...options }: TakeOptions): TakeOptions & { readonly caller: string } {
  return { caller, ...options };
}

/**
 * Memory for one object at a time, held in a line. An object can grow between two reads, so the memory can be held
 * again with another length.
 */
export class LineMemory {
  readonly #line: Line;
  readonly #options: AcquireOptions;
  #heldBytes = 0;
  #release: Release | undefined;

  constructor(line: Line, options: AcquireOptions) {
    this.#line = line;
    this.#options = options;
  }

  /** Takes memory for an object if enough is free now. Returns whether the memory is held. */
  tryHold(bytes: number): boolean {
    if (bytes <= this.#heldBytes) return true;
    this.release();
    this.#release = this.#line.tryAcquire(this.#amountOf(bytes), this.#options);
    if (this.#release !== undefined) this.#heldBytes = bytes;
    return this.#release !== undefined;
  }

  /** Waits for enough memory for an object. Throws `TOOMANYREQUESTS` if the turn has a longest wait. */
  async hold(bytes: number): Promise<void> {
    if (bytes <= this.#heldBytes) return;
    this.release(); // a waiter must hold no units of its own line
    this.#release = await this.#line.acquire(this.#amountOf(bytes), this.#options);
    this.#heldBytes = bytes;
  }

  /** Gives the held memory back. */
  release(): void {
    this.#release?.();
    this.#release = undefined;
    this.#heldBytes = 0;
  }

  /** An object that is larger than the whole line takes the whole line. */
  #amountOf(bytes: number): number {
    return Math.min(bytes, this.#line.capacity);
  }
}
