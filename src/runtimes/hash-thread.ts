/**
 * Hashes blobs of 256 KiB and more in another thread on Node, while the main thread reads and sends. The main thread
 * copies each chunk into memory that both threads have, which takes a sixth of the time of hashing it.
 */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { type Algorithm, type ChunkHash, Digester, type Hasher } from "../digest.ts";

/** Bytes that wait to be hashed, of all blobs together. */
const memoryBytes = 4 * 1024 * 1024;
/** This many bytes go to the thread with one message. */
const messageBytes = memoryBytes / 16;
/** After this many bytes the thread says how far it is. */
const stepBytes = memoryBytes / 4;

/**
 * The program of the thread. It is a text, because a file would have another name in `dist` and in a bundle. A message
 * is a list of pieces, or ends a hash. The first piece of a hash begins it.
 */
const program = `
  const { createHash } = require("node:crypto");
  const { parentPort, workerData: memory } = require("node:worker_threads");
  const hashes = new Map();
  let hashed = 0;
  let told = 0;
  parentPort.on("message", ({ pieces, id, algorithm, isWanted }) => {
    if (pieces === undefined) {
      const hash = hashes.get(id) ?? createHash(algorithm);
      hashes.delete(id);
      if (isWanted) parentPort.postMessage({ id, hex: hash.digest("hex") });
      return;
    }
    for (const { id, algorithm, at, length } of pieces) {
      const hash = hashes.get(id) ?? createHash(algorithm);
      hashes.set(id, hash.update(memory.subarray(at, at + length)));
      hashed += length;
    }
    if (hashed - told < ${stepBytes}) return;
    told = hashed;
    parentPort.postMessage({ hashed });
  });
`;

type Told = { readonly hashed: number } | { readonly id: number; readonly hex: string };

interface RunningHash {
  readonly id: number;
  readonly algorithm: Algorithm;
  isOver: boolean;
}

/** Bytes of a hash in the memory. */
interface Piece {
  readonly id: number;
  readonly algorithm: Algorithm;
  readonly at: number;
  length: number;
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * With two cores, the thread takes them from the client and the store, if these run on the same machine
 * (`docs/performance.md`).
 */
const leastCores = 4;

/**
 * Undefined if there are too few cores for a thread. The thread begins with the first blob. If it cannot begin, as
 * under Node's `--permission`, or if it has failed, the calling thread hashes.
 */
export function threadHasher(cores = availableParallelism()): Hasher | undefined {
  if (cores < leastCores) return undefined;
  let thread: HashThread | undefined;
  let canBegin = true;
  return (algorithm) => {
    try {
      if (canBegin) thread ??= new HashThread();
    } catch {
      canBegin = false;
    }
    return thread?.hasFailed === false ? thread.begin(algorithm) : new Digester(algorithm);
  };
}

class HashThread {
  readonly #memory = new Uint8Array(new SharedArrayBuffer(memoryBytes));
  readonly #worker = new Worker(program, { eval: true, workerData: this.#memory });
  /** Bytes that were put into the memory, and those of them that are hashed. The memory is a ring. */
  #put = 0;
  #hashed = 0;
  /** Pieces in the memory that the thread does not know yet. */
  #pieces: Piece[] = [];
  #pieceBytes = 0;
  #lastId = 0;
  #running = 0;
  readonly #hexes = new Map<number, string>();
  /** They wait for the next message of the thread. */
  readonly #waiters: Waiter[] = [];
  #failure: Error | undefined;

  constructor() {
    this.#worker
      .on("message", (told: Told) => {
        if ("hex" in told) this.#hexes.set(told.id, told.hex);
        else this.#hashed = told.hashed;
        for (const { resolve } of this.#waiters.splice(0)) resolve();
      })
      .on("error", (error) => this.#fail(error))
      .on("exit", () => this.#fail(new Error("The thread that hashes has ended")))
      .unref(); // it does not keep the process running while it has no work
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  begin(algorithm: Algorithm): ChunkHash {
    const hash: RunningHash = { id: ++this.#lastId, algorithm, isOver: false };
    if (this.#running++ === 0) this.#worker.ref();
    return {
      update: async (chunk) => this.#write(hash, chunk),
      digest: async () => {
        if (hash.isOver) throw new Error("The hash has ended");
        this.#end(hash, true);
        return `${algorithm}:${await this.#hexOf(hash)}`;
      },
      cancel: () => {
        if (!hash.isOver) this.#end(hash, false);
      },
    };
  }

  /** Copies the chunk into the memory, as soon as there is room. */
  async #write(hash: RunningHash, chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.length && !hash.isOver;) {
      const at = this.#put % memoryBytes;
      const length = Math.min(memoryBytes - at, memoryBytes - (this.#put - this.#hashed), chunk.length - done);
      if (length === 0) {
        this.#tellPieces();
        await this.#nextMessage();
        continue;
      }
      this.#memory.set(length === chunk.length ? chunk : chunk.subarray(done, done + length), at);
      this.#addPiece({ id: hash.id, algorithm: hash.algorithm, at, length });
      this.#put += length;
      done += length;
    }
  }

  #end(hash: RunningHash, isWanted: boolean): void {
    hash.isOver = true;
    this.#tellPieces();
    this.#worker.postMessage({ id: hash.id, algorithm: hash.algorithm, isWanted }, []);
    if (!isWanted) this.#release();
  }

  async #hexOf({ id }: RunningHash): Promise<string> {
    try {
      for (;;) {
        const hex = this.#hexes.get(id);
        if (this.#hexes.delete(id) && hex !== undefined) return hex;
        await this.#nextMessage();
      }
    } finally {
      this.#release();
    }
  }

  #release(): void {
    if (--this.#running === 0) this.#worker.unref();
  }

  #addPiece(piece: Piece): void {
    const last = this.#pieces.at(-1);
    if (last?.id === piece.id && last.at + last.length === piece.at) last.length += piece.length;
    else this.#pieces.push(piece);
    this.#pieceBytes += piece.length;
    if (this.#pieceBytes >= messageBytes) this.#tellPieces();
  }

  #tellPieces(): void {
    if (this.#pieces.length === 0) return;
    this.#worker.postMessage({ pieces: this.#pieces }, []);
    this.#pieces = [];
    this.#pieceBytes = 0;
  }

  async #nextMessage(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure === undefined) this.#waiters.push({ resolve, reject });
      else reject(this.#failure);
    });
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiters.splice(0)) reject(this.#failure);
  }
}
