/**
 * The memory that the requests of a process share: for bodies on their way to the store, for zstd windows, and for JSON while
 * it is parsed. A request that finds too little of it waits in line, fair by caller (`line.ts`). Nothing is read for the
 * request meanwhile, so that TCP slows its client down.
 *
 * Every wait ends. The reasons, from the hold that ends first to the one that ends last:
 *
 * - A hold by `take` is for one body: a blob, a part, a small request. Its bytes are read from a client, which is cut off
 *   when it falls silent, or they are on their way to the store. Neither needs another hold. A load that waits for its next
 *   blob still writes its earlier ones, and gives their bytes back.
 * - A turn to `ask` the store lasts for one question.
 * - A hold by `parse` or `jsonMemory` is for one text, while it is read from the store and parsed. That may need a turn to ask.
 * - A hold by `commitMemory` is for the index that a commit changes, from its first read to the commit's last write.
 * - A hold by `keepJson` is for what a load keeps of large indexes or configs. Its load may wait for those above meanwhile,
 *   and holds neither while it waits for this one. A load has one such hold at a time.
 * - A hold by `takeLasting` is for a zstd window. Its load waits for all of the above meanwhile. The load takes it first, and
 *   once, so that it holds nothing while it waits. All windows together leave `blobBytes` free, so that a blob's turn comes
 *   even if no window is given back. They do not count for their caller's share: its own blobs would wait for them.
 */
import { StowageError } from "../errors.ts";
import { type AcquireOptions, type Release, Line } from "./line.ts";

/** Bytes that windows leave free: what one blob that is streamed takes. */
const blobBytes = 32 * 1024 * 1024;
/** Bytes of JSON text that are parsed at the same time. Parsed, they take up to twelve times as much. */
const maxJsonBytes = 16 * 1024 * 1024;
/** A JSON text of up to this many bytes is parsed without a turn. */
export const freeJsonBytes = 64 * 1024;
/** Bytes of the indexes that commits change at the same time: what the largest one has. */
const maxCommitBytes = 32 * 1024 * 1024;
/** The part of all bytes that manifests may take while they are read and checked for clients that pull. */
const manifestFraction = 1 / 4;
/** Bytes that loads keep of large indexes and configs: what two loads may keep. */
const maxKeptJsonBytes = 32 * 1024 * 1024;
/** Questions to the store that are asked at the same time while a list of many is gone through. */
const maxQuestions = 32;
/** The name for requests that count for no caller in particular. */
const defaultCaller = "anyone";

/** How bytes are taken from a budget. */
export interface TakeOptions {
  /** Whom the bytes are held for. Callers get equal shares while several want some. Without it: one name for all. */
  readonly caller?: string | undefined;
  /** Ends the waiting with its reason. */
  readonly signal: AbortSignal;
  /** The longest wait in milliseconds, after which `TOOMANYREQUESTS` is thrown. Without it the wait has no end. */
  readonly maxWaitMs?: number | undefined;
}

/** Bytes of memory that several loads share. */
export class ByteBudget {
  /** All bytes that there are. */
  readonly maxBytes: number;
  /** The largest `bytes` that `take` takes. */
  readonly maxBlobBytes: number;
  readonly #maxLastingBytes: number;
  /** Bytes of bodies and of windows. A hold for a body needs no other hold, so each wait here ends. */
  readonly #main: Line;
  /** Bytes of windows, to be held in the main line too. A load enters this line first, so that it holds nothing while it waits. */
  readonly #lasting: Line;
  /** Bytes of JSON texts while they are read and parsed. A hold may wait for a turn to ask. */
  readonly #json = new Line({ capacity: maxJsonBytes, units: "bytes of JSON", limit: "maxJsonBytes" });
  /** Bytes of indexes and configs that loads keep. A hold may wait for any of the other lines but that of the windows. */
  readonly #kept = new Line({ capacity: maxKeptJsonBytes, units: "bytes of JSON", limit: "maxKeptJsonBytes" });
  /** Bytes of indexes and intents that commits change. A commit holds them from its first read to its last write. */
  readonly #commits = new Line({ capacity: maxCommitBytes, units: "bytes of indexes", limit: "maxCommitBytes" });
  /** Bytes of manifests that clients pull. The line is their own, so that many pulls leave memory for loads. */
  readonly #manifests: Line;
  /** Questions to the store. A hold lasts for one question and waits for nothing. */
  readonly #questions = new Line({ capacity: maxQuestions, units: "questions to the store", limit: "maxQuestions" });

  /** A blob that is streamed into S3 takes 30 MiB: with fewer bytes than that, large ones are refused. */
  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
    this.#maxLastingBytes = Math.max(0, Math.min(Math.floor(maxBytes / 2), maxBytes - blobBytes));
    this.maxBlobBytes = maxBytes - this.#maxLastingBytes;
    const names = { units: "bytes", limit: "maxBufferBytes" };
    this.#manifests = new Line({ capacity: Math.ceil(manifestFraction * maxBytes), ...names });
    this.#main = new Line({ capacity: maxBytes, ...names });
    this.#lasting = new Line({ capacity: Math.max(1, this.#maxLastingBytes), ...names });
  }

  /** Does a request wait for bytes that others hold? */
  get isCrowded(): boolean {
    return this.#main.isCrowded || this.#lasting.isCrowded;
  }

  /** Does this caller hold more than its share, by several holds, while another waits? */
  isOverdrawn(caller: string): boolean {
    return this.#main.isOverdrawn(caller) || this.#lasting.isOverdrawn(caller);
  }

  /** Takes `bytes` for a body, once they are free. Throws `LIMIT_EXCEEDED` if they never can be. */
  async take(bytes: number, options: TakeOptions): Promise<Release> {
    if (bytes <= this.maxBlobBytes) return this.#main.acquire(bytes, withCaller(options));
    throw new StowageError(
      "LIMIT_EXCEEDED",
      `Cannot hold ${bytes} bytes at once: maxBufferBytes allows ${this.maxBytes} for the whole process, ${this.maxBlobBytes} for one blob`,
      { detail: { limit: "maxBufferBytes", found: bytes, expected: this.maxBlobBytes } },
    );
  }

  /**
   * Takes bytes for a window: a load does so before it takes any others, and keeps them to its end. A window that is larger
   * than all windows may be together is let in by itself, and takes only that much: the decoder has a cap for it.
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
   * Does work that reads and parses JSON texts of this many bytes together, at this caller's turn. Short texts need no turn.
   * The work may `ask` the store meanwhile.
   */
  async parse<T>(bytes: number, work: () => T | Promise<T>, options: TakeOptions): Promise<T> {
    if (bytes <= freeJsonBytes) return work();
    const memory = this.jsonMemory(options);
    await memory.hold(bytes);
    try {
      return await work();
    } finally {
      memory.release();
    }
  }

  /** Memory for a JSON text whose length is known once it is looked at. It holds nothing yet. */
  jsonMemory(options: TakeOptions): LineMemory {
    return new LineMemory(this.#json, withCaller(options));
  }

  /** Memory for one manifest that a client pulls. It holds nothing yet. A request may hold it beside `jsonMemory`. */
  manifestMemory(options: TakeOptions): LineMemory {
    return new LineMemory(this.#manifests, withCaller(options));
  }

  /** Memory for the index that one commit changes, and for the intents that it merges. It holds nothing yet. */
  commitMemory(options: TakeOptions): LineMemory {
    return new LineMemory(this.#commits, withCaller(options));
  }

  /**
   * Asks the store whether it has one of many objects, at this caller's turn. Each question takes time and memory of the
   * process: lists of many thousands, in several requests, would make those of others wait.
   */
  async ask<T>(question: () => Promise<T>, options: TakeOptions): Promise<T> {
    const release = await this.#questions.acquire(1, withCaller(options));
    try {
      return await question();
    } finally {
      release();
    }
  }

  /** Takes bytes for all that a load keeps of large indexes and configs. */
  async keepJson(bytes: number, options: TakeOptions): Promise<Release> {
    return this.#kept.acquire(Math.min(bytes, maxKeptJsonBytes), withCaller(options));
  }
}

function withCaller({ caller = defaultCaller, ...options }: TakeOptions): TakeOptions & { readonly caller: string } {
  return { caller, ...options };
}

// Memory for one object at a time, held in a line.

/** A hold that grows: an object is looked at before it is read, and may be larger when it is looked at again. */
export class LineMemory {
  readonly #line: Line;
  readonly #turn: AcquireOptions;
  #heldBytes = 0;
  #release: Release | undefined;

  constructor(line: Line, turn: AcquireOptions) {
    this.#line = line;
    this.#turn = turn;
  }

  /** Takes memory for an object, if there is enough at once. Returns whether the memory is held now. */
  tryHold(bytes: number): boolean {
    if (bytes <= this.#heldBytes) return true;
    this.release();
    this.#release = this.#line.tryAcquire(this.#amountOf(bytes), this.#turn);
    if (this.#release !== undefined) this.#heldBytes = bytes;
    return this.#release !== undefined;
  }

  /** Waits for enough memory for an object. Throws `TOOMANYREQUESTS` where the turn has a longest wait. */
  async hold(bytes: number): Promise<void> {
    if (bytes <= this.#heldBytes) return;
    this.release(); // what waits must hold nothing that others of the same line wait for
    this.#release = await this.#line.acquire(this.#amountOf(bytes), this.#turn);
    this.#heldBytes = bytes;
  }

  /** Gives back what is held. */
  release(): void {
    this.#release?.();
    this.#release = undefined;
    this.#heldBytes = 0;
  }

  /** A larger object than the line has units for is let in by itself. */
  #amountOf(bytes: number): number {
    return Math.min(bytes, this.#line.capacity);
  }
}
