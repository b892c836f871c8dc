/**
 * The keys of one issuer. They are read when its first token comes, and again after ten minutes, or for a token with an
 * unknown key. While the issuer is away, they stay in use for an hour.
 */
import { type JWTVerifyGetKey, createLocalJWKSet, errors } from "jose";
import type { Clock } from "../clock.ts";
import { StowageError, messageOf } from "../errors.ts";
import { type NoticeEvent, notice } from "../events.ts";
import { SharedWork } from "../streams/batches.ts";
import { maxReadSeconds, readKeySet } from "./read-key-set.ts";

/** Keys are read again after this time. A key that the issuer has withdrawn is accepted for as long. */
const refreshMs = 10 * 60_000;
/** Keys are used for this time if they cannot be read again. */
const keepMs = 60 * 60_000;
/** The time between two reads while there are keys. Otherwise tokens with made-up keys would flood the issuer. */
const cooldownMs = 30_000;
/** The same while there are no keys. */
const retryMs = 5000;
/** A read takes less time. */
const maxReadMs = (maxReadSeconds + 1) * 1000;

interface Keys {
  readonly find: JWTVerifyGetKey;
  readonly readMs: number;
}

export interface IssuerKeysOptions {
  readonly clock: Clock;
  readonly report: (event: NoticeEvent) => void;
}

export class IssuerKeys {
  readonly #issuer: string;
  readonly #options: IssuerKeysOptions;
  #keys: Keys | undefined;
  #triedMs = -Infinity;
  #hasFailed = false;
  readonly #reads = new SharedWork<void>(maxReadMs);

  constructor(issuer: string, options: IssuerKeysOptions) {
    this.#issuer = issuer;
    this.#options = options;
  }

  /**
   * Finds the key that the header of a token names. Throws jose's `JWKSNoMatchingKey` if there is none, or
   * `ISSUER_UNAVAILABLE` if the issuer cannot be asked for it.
   */
  readonly find: JWTVerifyGetKey = async (...token) => {
    const keys = await this.#read(({ readMs }) => this.#ageMs(readMs) < refreshMs);
    try {
      return await keys.find(...token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      const newer = await this.#read((read) => read !== keys);
      if (newer !== keys) return newer.find(...token);
      throw this.#hasFailed ? this.#unavailable() : error;
    }
  };

  /** The keys that are there, if they are good enough or cannot be read again now. Otherwise reads them. */
  async #read(isGood: (keys: Keys) => boolean): Promise<Keys> {
    const isDue = (): boolean => (this.#keys === undefined || !isGood(this.#keys)) && this.#mayRead();
    if (isDue()) await this.#reads.resultOf("keys", async () => (isDue() ? this.#tryRead() : undefined));
    if (this.#keys === undefined || this.#ageMs(this.#keys.readMs) > keepMs) throw this.#unavailable();
    return this.#keys;
  }

  #mayRead(): boolean {
    return this.#ageMs(this.#triedMs) >= (this.#keys === undefined ? retryMs : cooldownMs);
  }

  async #tryRead(): Promise<void> {
    const { clock, report } = this.#options;
    try {
      this.#keys = { find: createLocalJWKSet(await readKeySet(this.#issuer)), readMs: clock.now() };
      this.#hasFailed = false;
    } catch (error) {
      this.#hasFailed = true;
      const end = this.#keys && new Date(this.#keys.readMs + keepMs).toISOString();
      const effect = end === undefined ? "" : `; those that are known are used until ${end}`;
      report(notice("warn", `cannot read the keys of the issuer ${this.#issuer}: ${messageOf(error)}${effect}`));
    }
    this.#triedMs = clock.now();
  }

  #unavailable(): StowageError {
    const message = `Cannot verify the token: the keys of its issuer ${this.#issuer} cannot be read`;
    return new StowageError("ISSUER_UNAVAILABLE", `${message}; the log of the service says why; try again later`);
  }

  /** A clock that was set back does not stop the reads. */
  #ageMs(timeMs: number): number {
    return Math.abs(this.#options.clock.now() - timeMs);
  }
}
