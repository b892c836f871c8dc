/** What becomes of a request: when it takes effect, how often, and what its sender is told. */

/** A request, as the one who decides its course sees it. */
export interface Request {
  readonly method: "GET" | "LIST" | "PUT" | "DELETE";
  readonly key: string;
  /** The client may not send it again by itself. */
  readonly isOnce: boolean;
}

/** Times are milliseconds after the request was sent. */
export interface Course {
  /** When it takes effect: never, once, or twice where a client or a network repeats it. A listing looks twice. */
  readonly effectsMs: readonly number[];
  /** When the sender is told: never, if it is killed meanwhile. */
  readonly answerMs: number | undefined;
  /** What the sender is told: what the first or the last effect came to, no answer at all, or an HTTP status. */
  readonly answer: "first" | "last" | "none" | 403 | 503;
  /** The sender dies with this request. */
  readonly isLast: boolean;
}

/** Decisions of one schedule; once they are used up, all goes the plain way, so that fewer of them mean fewer faults. */
export class Choices {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** A whole number from 0 to 255. */
  next(): number {
    return this.#bytes[this.#at++] ?? 0;
  }
}

export interface CourseOptions {
  readonly choices: Choices;
  /** Of 256 requests about so many go as they should. */
  readonly calm: number;
  /** Nothing fails, but writers die with what they write. */
  readonly isDeadly?: boolean | undefined;
}

/** Decides what becomes of a request. */
export function chooseCourse({ method, isOnce }: Request, { choices, calm, isDeadly = false }: CourseOptions): Course {
  const effectMs = chooseDelay(choices);
  const lastEffectMs = effectMs + (method === "LIST" ? chooseDelay(choices) : 0); // a listing takes its time
  const answerMs = lastEffectMs + chooseDelay(choices);
  const effectsMs = method === "LIST" ? [effectMs, lastEffectMs] : [effectMs];
  const plain: Course = { effectsMs, answerMs, answer: "first", isLast: false };
  if (choices.next() <= calm) return plain;
  const isRead = method === "GET" || method === "LIST";
  const usualFaults = isRead ? faultsOfReads : isOnce ? faultsOfWrites : faultsOfClients;
  const faults = isDeadly ? (method === "PUT" ? deaths : []) : usualFaults;
  const chooseFault = faults[choices.next() % faults.length];
  return chooseFault === undefined ? plain : { ...plain, ...chooseFault({ effectMs, answerMs, choices }) };
}

interface PlainTimes {
  readonly effectMs: number;
  readonly answerMs: number;
  readonly choices: Choices;
}

type Fault = (times: PlainTimes) => Partial<Course>;

const refused: Fault = () => ({ effectsMs: [], answer: 503 });
const lost: Fault = () => ({ effectsMs: [], answer: "none" });
const forbidden: Fault = () => ({ effectsMs: [], answer: 403 });
const killed: Fault = () => ({ effectsMs: [], answerMs: undefined, isLast: true });
const unanswered: Fault = () => ({ answer: "none" });
/** The sender is told that it failed, and then it takes effect. */
const late: Fault = ({ answerMs, choices }) => ({ effectsMs: [answerMs + chooseLongDelay(choices)], answer: "none" });
const lastWords: Fault = () => ({ answerMs: undefined, isLast: true });
const landsAfterDeath: Fault = ({ choices }) => ({
  effectsMs: [chooseLongDelay(choices)],
  answerMs: undefined,
  isLast: true,
});
/** The answer to the first try was lost, and the client's second met what the first had done. */
const retried: Fault = ({ effectMs, answerMs }) => ({ effectsMs: [effectMs, answerMs], answer: "last" });
/** As `retried`, but nobody hears of the second try. */
const repeated: Fault = ({ effectMs, choices }) => ({ effectsMs: [effectMs, effectMs + chooseLongDelay(choices)] });

const faultsOfReads: readonly Fault[] = [refused, lost, lost, killed];
const faultsOfWrites: readonly Fault[] = [refused, lost, unanswered, unanswered, late, late, killed, landsAfterDeath];
const faultsOfClients: readonly Fault[] = [...faultsOfWrites, forbidden, retried, retried, repeated];

const deaths: readonly Fault[] = [lastWords, lastWords, landsAfterDeath];

const longDelaysMs = [20, 100, 1000, 10_000, 70_000, 100_000, 700_000];

function chooseDelay(choices: Choices): number {
  const choice = choices.next();
  if (choice < 224) return 1 + (choice % 12);
  return choice < 252 ? 10 * (choice - 220) : chooseLongDelay(choices);
}

function chooseLongDelay(choices: Choices): number {
  return longDelaysMs[choices.next() % longDelaysMs.length] ?? 0;
}
