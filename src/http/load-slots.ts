/** How many loads run at once. One more is refused before its body is read, rather than kept waiting for its turn. */
import { StowageError } from "../errors.ts";

export class LoadSlots {
  readonly #maxLoads: number;
  #taken = 0;

  constructor(maxLoads: number) {
    this.#maxLoads = maxLoads;
  }

  /** Runs a load. Throws `TOOMANYREQUESTS` if as many as are allowed run already. */
  async run<T>(load: () => Promise<T>): Promise<T> {
    if (this.#taken >= this.#maxLoads) throw tooMany(this.#maxLoads);
    this.#taken++;
    try {
      return await load();
    } finally {
      this.#taken--;
    }
  }
}

function tooMany(maxLoads: number): StowageError {
  return new StowageError(
    "TOOMANYREQUESTS",
    `Cannot load now: ${maxLoads} loads are under way, as many as are allowed at once (maxLoads); try again later`,
    { detail: { limit: "maxLoads", expected: maxLoads } },
  );
}
