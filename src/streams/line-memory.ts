/** Memory for one object at a time, held in a line. */
import type { AcquireOptions, Line, Release } from "./line.ts";

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
