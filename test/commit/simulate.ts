/** Runs one schedule of the real commit code over a simulated bucket, and says what went wrong, if anything did. */
import { messageOf } from "../../src/errors.ts";
import type { commitChanges } from "../../src/layout/index/commit-changes.ts";
import { type RepositoryIndex, emptyIndex, parseRepositoryIndex } from "../../src/layout/index/repository-index.ts";
import { allIntentsPrefix, indexKey, intentsPrefix } from "../../src/layout/keys.ts";
import type { ChangeSet, ChangeSetOutcome } from "../../src/oci/index-change.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { readSmallObject } from "../../src/storage/read-small-object.ts";
import { Choices, chooseCourse } from "./course.ts";
import { type RecordedCommit, History, isLinearizable } from "./history.ts";
import { type Scenario, type WriterPlan, numberedDigest, setTag } from "./scenario.ts";
import { Scheduler, seededRandom, simulatedClock } from "./scheduler.ts";
import { type EffectiveWrite, type ErrorClass, SimulatedBucket, SimulatedStore } from "./simulated-store.ts";

/** The code under test, as it is or changed. */
export interface Protocol {
  readonly commitChanges: typeof commitChanges;
  readonly StowageError: ErrorClass;
  /** The store sends again what is to be sent once. */
  readonly ignoresOnce?: boolean;
  /** What a dead writer has left may undo what is newer. */
  readonly forgivesTheDead?: boolean;
}

export interface SimulationResult {
  readonly problems: readonly string[];
  /** What happened, a line for each event. */
  readonly trace: string;
  /** What occurred at least once, so that a test can see that its schedules reach all of it. */
  readonly sights: ReadonlySet<string>;
}

export async function simulate(scenario: Scenario, protocol: Protocol): Promise<SimulationResult> {
  const simulation = new Simulation(scenario, protocol);
  await simulation.run();
  return simulation;
}

class Simulation implements SimulationResult {
  readonly problems: string[] = [];
  readonly sights = new Set<string>();
  readonly #scenario: Scenario;
  readonly #protocol: Protocol;
  readonly #scheduler = new Scheduler();
  readonly #bucket = new SimulatedBucket();
  readonly #choices: Choices;
  readonly #histories = new Map<string, History>();
  /** Keys of intents whose writers know what became of them, and sent them once: what was sent again has to stay. */
  readonly #settled = new Map<string, SimulatedStore>();
  /** By writer, the commit that is under way. */
  readonly #current = new Map<string, RecordedCommit>();
  #writers = 0;

  constructor(scenario: Scenario, protocol: Protocol) {
    this.#scenario = scenario;
    this.#protocol = protocol;
    this.#choices = new Choices(scenario.choices);
    for (const { repository } of scenario.writers) this.#histories.set(repository, new History());
  }

  get trace(): string {
    return this.#scheduler.trace;
  }

  /** All writers, and then two more in each repository, who race and so look at whatever is left. */
  async run(): Promise<void> {
    await this.#runWriters(this.#scenario.writers);
    const repositories = [...this.#histories.keys()];
    const last = repositories.flatMap((repository) => [lastWriter(repository, 1), lastWriter(repository, 2)]);
    await this.#runWriters(last);
    for (const [repository, history] of this.#histories) {
      await history.read(async () => this.#indexOf(repository));
      if (!isLinearizable(history.operations, this.#protocol))
        this.#complain(`${repository}: no order explains what writers were told`);
      this.#checkIntents(repository);
    }
  }

  async #runWriters(plans: readonly WriterPlan[]): Promise<void> {
    const running = new Map<string, SimulatedStore>();
    for (const plan of plans) {
      const name = `w${++this.#writers}`;
      const store = this.#storeOf(name);
      running.set(name, store);
      this.#scheduler.after(plan.startsAtMs, () => {
        this.#write(plan, name, store)
          .catch((error: unknown) => this.#complain(`${name} threw ${messageOf(error)}`))
          .finally(() => running.delete(name))
          .catch(() => undefined);
      });
    }
    await this.#scheduler.run();
    for (const [name, store] of running) {
      if (store.isDead) this.sights.add("killed");
      else this.#complain(`${name} never came to an end`);
    }
  }

  #storeOf(sender: string): SimulatedStore {
    const { StowageError, ignoresOnce } = this.#protocol;
    return new SimulatedStore({
      bucket: this.#bucket,
      scheduler: this.#scheduler,
      courseOf: (request) => chooseCourse(request, { ...this.#scenario, choices: this.#choices }),
      StowageError,
      ignoresOnce,
      sender,
      onDeath: () => this.#current.get(sender)?.end(),
      onWrite: (write) => this.#checkWrite(write),
    });
  }

  async #write({ repository, skewMs, steps }: WriterPlan, name: string, store: SimulatedStore): Promise<void> {
    const history = this.#histories.get(repository) ?? new History();
    const random = seededRandom(Number(name.slice(1)));
    const clock = simulatedClock({ scheduler: this.#scheduler, skewMs, random });
    for (const sets of steps) {
      const firstRequest = store.sent.length;
      if (sets === undefined) {
        await history.read(async () => this.#ifAnswered(async () => readIndex(store, repository)));
        continue;
      }
      this.#scheduler.note(`${name} commits to ${repository}: ${shortJson(sets)}`);
      const recorded = history.commit(sets);
      this.#current.set(name, recorded);
      const outcomes = await this.#ifAnswered(async () =>
        this.#protocol.commitChanges(repository, sets, { store, clock }),
      );
      this.#current.delete(name);
      if (outcomes === undefined) recorded.end();
      else recorded.tell(outcomes);
      this.#scheduler.note(`${name} is told: ${outcomes === undefined ? "nothing certain" : shortJson(outcomes)}`);
      const requests = store.sent.slice(firstRequest);
      this.#look(outcomes, requests);
      if (outcomes === undefined) continue;
      const isSentOnce = (request: string): boolean => requests.indexOf(request) === requests.lastIndexOf(request);
      for (const it of requests.filter(isSentOnce)) this.#settled.set(it.replace("PUT ", ""), store);
    }
  }

  /** Undefined if the store gave no good answer. */
  async #ifAnswered<T>(act: () => Promise<T>): Promise<T | undefined> {
    try {
      return await act();
    } catch (error) {
      if (error instanceof this.#protocol.StowageError && error.code === "STORE_UNAVAILABLE") return undefined;
      throw error;
    }
  }

  #look(outcomes: readonly ChangeSetOutcome[] | undefined, requests: readonly string[]): void {
    const isAlone = !requests.some((request) => request.startsWith("LIST"));
    const way = isAlone ? "alone" : "together";
    const outcome = outcomes?.[0];
    const result = outcome === undefined ? "unknown" : "failed" in outcome ? outcome.failed : Object.keys(outcome)[0];
    this.sights.add(`${way}: ${result}`);
    const intents = new Set(requests.filter((request) => request.startsWith(`PUT ${allIntentsPrefix}`)));
    if (intents.size > 1) this.sights.add("together: stale");
  }

  /** What is written can be read again, and of outcomes no more is kept than those of intents that are there. */
  #checkWrite({ key, before, after, listed }: EffectiveWrite): void {
    if (!key.endsWith("index.json")) return;
    const kept = before === undefined ? emptyIndex.applied : parseRepositoryIndex(before, key).applied;
    const { applied } = parseRepositoryIndex(after, key);
    if (JSON.stringify([...applied]) === JSON.stringify([...kept])) return; // somebody who is alone leaves them as they are
    const extra = [...applied.keys()].filter((id) => !listed.some((it) => it.endsWith(id)));
    if (extra.length > 0) this.#complain(`${key} keeps the outcomes of ${extra.join(", ")}, whose intents are gone`);
    if (applied.size > 1) this.sights.add("merged for several");
  }

  #checkIntents(repository: string): void {
    for (const { key } of this.#bucket.list(intentsPrefix(repository))) {
      const writer = this.#settled.get(key);
      if (writer === undefined) this.sights.add("left an intent");
      else if (!writer.notDeleted.has(key)) this.#complain(`${key} is still there, and its writer is done`);
    }
  }

  #indexOf(repository: string): RepositoryIndex {
    const key = indexKey(repository);
    const found = this.#bucket.objects.get(key);
    return found === undefined ? emptyIndex : parseRepositoryIndex(found.bytes, key);
  }

  #complain(problem: string): void {
    this.#scheduler.note(`WRONG: ${problem}`);
    this.problems.push(problem);
  }
}

/** For the trace: without what is the same everywhere. */
function shortJson(value: unknown): string {
  const json = JSON.stringify(value, (key, it: unknown) => (key === "mediaType" || key === "size" ? undefined : it));
  return json.replaceAll(/sha256:0*/g, "…");
}

function lastWriter(repository: string, number: number): WriterPlan {
  const sets: readonly ChangeSet[] = [{ changes: [setTag(`last-${number}`, numberedDigest(number))] }];
  return { repository, startsAtMs: 0, skewMs: 0, steps: [sets] };
}

async function readIndex(store: ObjectStore, repository: string): Promise<RepositoryIndex> {
  const key = indexKey(repository);
  const found = await readSmallObject(store, key, { maxBytes: Infinity });
  return found === undefined ? emptyIndex : parseRepositoryIndex(found.bytes, key);
}
