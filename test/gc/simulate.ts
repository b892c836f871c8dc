/**
 * Runs one schedule of real loads, copies, pushes, removals and gcs over a simulated bucket: a working day with one image or
 * another going in and out, several gcs at a time, all of them on clocks of their own, and some of them killed. Whatever happens,
 * each image that an index names has to be whole; and once loads have stopped, gcs have to leave exactly what is needed.
 */
import { setMaxListeners } from "node:events";
import type { Clock } from "../../src/clock.ts";
import type { Digest } from "../../src/digest.ts";
import { messageOf } from "../../src/errors.ts";
import type { copyImages } from "../../src/copy/copy-images.ts";
import type { planCopy } from "../../src/copy/plan-copy.ts";
import type { collectGarbage } from "../../src/gc/collect-garbage.ts";
import type { collectSlice } from "../../src/gc/collect-slice.ts";
import type { GarbageReport } from "../../src/gc/tally.ts";
import type { checkClosure } from "../../src/layout/check-closure.ts";
import type { updateRepository } from "../../src/layout/update-repository.ts";
import type { RescuingStore } from "../../src/layout/rescuing-store.ts";
import { changeTimeOf } from "../../src/layout/index/change-history.ts";
import { type RepositoryIndex, parseRepositoryIndex } from "../../src/layout/index/repository-index.ts";
import { blobKey, blobsPrefix, condemnedPrefix, indexKey, stagingPrefix } from "../../src/layout/keys.ts";
import type { Layout } from "../../src/layout/layout.ts";
import { JsonMemory } from "../../src/layout/json-memory.ts";
import type { storeBlob } from "../../src/layout/store-blob.ts";
import type { createApp } from "../../src/http/app.ts";
import type { publish } from "../../src/layout/publish.ts";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import type { SetChange } from "../../src/oci/index-change.ts";
import { endOf, subjectOf, tagOf } from "../../src/oci/index-entry.ts";
import { ociLayoutJson } from "../../src/oci/manifest.ts";
import type { RetentionRule } from "../../src/settings/parse-retention.ts";
import { ByteBudget } from "../../src/streams/byte-budget.ts";
import { ByteReader } from "../../src/streams/byte-reader.ts";
import { Scheduler, seededRandom, simulatedClock } from "../commit/scheduler.ts";
import { PushClient, openService } from "./push-client.ts";
import { type SampleImage, nameOf, neededBy, openSampleStore, sampleImages } from "./sample-images.ts";
import { type ErrorClass, type Objects, SimulatedStore } from "./simulated-bucket.ts";
import { SlowSource } from "./slow-source.ts";

/** The code under test, as it is or changed. */
export interface Protocol {
  readonly StowageError: ErrorClass;
  readonly Layout: typeof Layout;
  readonly RescuingStore: typeof RescuingStore;
  readonly storeBlob: typeof storeBlob;
  readonly checkClosure: typeof checkClosure;
  readonly publish: typeof publish;
  readonly updateRepository: typeof updateRepository;
  readonly collectGarbage: typeof collectGarbage;
  readonly collectSlice: typeof collectSlice;
  readonly planCopy: typeof planCopy;
  readonly copyImages: typeof copyImages;
  readonly createApp: typeof createApp;
}

export interface SimulationResult {
  readonly problems: readonly string[];
  /** What happened, a line for each event. */
  readonly trace: string;
  /** What occurred at least once, so that a test can see that its schedules reach all of it. */
  readonly sights: ReadonlySet<string>;
}

/**
 * Loads alone bring images, or mostly copies or pushes do, or loads do while gcs run in slices, or loads give images an end while gcs
 * drop images.
 */
export type Setting = "loads" | "copies" | "pushes" | "slices" | "retention";

export async function simulate(seed: number, protocol: Protocol, setting: Setting): Promise<SimulationResult> {
  const simulation = new Simulation(seed, protocol, setting);
  await simulation.run();
  return simulation;
}

const minute = 60_000;
const hour = 60 * minute;
const graceMs = hour;
const dayMs = 12 * hour;
const maxSkewMs = 7 * minute;
const repository = "images";
/** With two of them, an image can move from one that a gc has not searched yet to one that it has searched. */
const repositories = {
  loads: [repository],
  copies: [repository],
  pushes: [repository],
  slices: [repository, "team/app"],
  retention: [repository],
};

const dropAfterMs = 2 * hour;
/** The second image stays. All others go after a time, with a tag and without one. */
const rules: readonly RetentionRule[] = [
  { repositories: ["**"], fits: ["second"], drops: undefined },
  { repositories: ["**"], fits: ["*"], drops: { olderThanMs: dropAfterMs } },
  { repositories: ["**"], fits: "untagged", drops: { olderThanMs: dropAfterMs } },
];

/** A process, which may be killed. */
interface Actor {
  readonly name: string;
  readonly clock: Clock;
  readonly store: SimulatedStore;
}

/** How often each comes beside a gc. */
const chances = {
  loads: { load: 0.7, load2: 0.4, copy: 0, push: 0, remove: 0.4, gc2: 0.3 },
  copies: { load: 0.3, load2: 0.1, copy: 0.8, push: 0, remove: 0.7, gc2: 0.3 },
  pushes: { load: 0.3, load2: 0, copy: 0, push: 0.9, remove: 0.7, gc2: 0.3 },
  slices: { load: 0.7, load2: 0.4, copy: 0, push: 0, remove: 0.4, gc2: 0.9 },
  retention: { load: 0.9, load2: 0.9, copy: 0, push: 0.2, remove: 0.1, gc2: 0.5 },
};

class Simulation implements SimulationResult {
  readonly problems: string[] = [];
  readonly sights = new Set<string>();
  readonly #protocol: Protocol;
  readonly #random: () => number;
  readonly #scheduler = new Scheduler();
  readonly #objects: Objects = new Map();
  readonly #isTense: boolean;
  /** By repository, those that the index had before its latest change. Only gcs take them out. */
  readonly #referrers = new Map<string, readonly Descriptor[]>();
  /** By repository, the entries that the index had before its latest change, by their names. */
  readonly #named = new Map<string, ReadonlyMap<string, Descriptor>>();
  #isQuiet = false;
  readonly #setting: Setting;

  constructor(seed: number, protocol: Protocol, setting: Setting) {
    this.#protocol = protocol;
    this.#setting = setting;
    this.#random = seededRandom(seed);
    this.#isTense = this.#random() < 0.5;
    this.#objects.set("oci-layout", { bytes: new TextEncoder().encode(ociLayoutJson), etag: "probed", modifiedMs: 0 });
  }

  get trace(): string {
    return this.#scheduler.trace;
  }

  async run(): Promise<void> {
    for (let at = 0, i = 0; at < dayMs; at += this.#random() * 60 * minute, i++) {
      const soon = (): number => at + this.#random() * (this.#random() < 0.7 ? 20_000 : hour);
      this.#startAt(at, `gc${i}`, async (it) => this.#collect(it));
      const { load, load2, copy, push, remove, gc2 } = chances[this.#setting];
      if (this.#random() < gc2) this.#startAt(soon(), `gc${i}b`, async (it) => this.#collect(it));
      if (this.#random() < load) this.#startAt(soon(), `load${i}`, async (it) => this.#load(it));
      if (this.#random() < load2) this.#startAt(soon(), `load${i}b`, async (it) => this.#load(it));
      if (copy > 0 && this.#random() < copy) this.#startAt(soon(), `copy${i}`, async (it) => this.#copy(it));
      if (push > 0 && this.#random() < push) this.#startAt(soon(), `push${i}`, async (it) => this.#push(it));
      if (this.#random() < remove) this.#startAt(soon(), `remove${i}`, async (it) => this.#remove(it));
    }
    await this.#scheduler.run();
    this.#isQuiet = true;
    for (let i = 0; i < 7; i++) {
      this.#startAt(i * (graceMs + hour), `last${i}`, async (it) => this.#collect(it));
    }
    this.#startAt(3 * 24 * hour, "lastOfAll", async (it) => this.#collect(it)); // unfinished pushes are old by then
    await this.#scheduler.run();
    this.#checkNothingIsLeft();
  }

  #startAt(ms: number, name: string, act: (actor: Actor) => Promise<void>): void {
    const actor = this.#newActor(name);
    this.#scheduler.after(ms, () => {
      act(actor).catch((error: unknown) => this.#fail(name, error));
    });
  }

  #newActor(name: string): Actor {
    const skewMs = (this.#random() * 2 - 1) * maxSkewMs;
    const clock = simulatedClock({ scheduler: this.#scheduler, skewMs, random: this.#random });
    const store = new SimulatedStore({
      objects: this.#objects,
      scheduler: this.#scheduler,
      random: this.#random,
      isTense: this.#isTense,
      isHeldUp: !this.#isQuiet && name.startsWith("gc") && this.#random() < 0.4,
      faults: this.#isQuiet ? 0 : 20,
      deleteFaults: this.#isQuiet ? 0 : this.#setting === "copies" ? 200 : 20,
      StowageError: this.#protocol.StowageError,
      sender: name,
      onChange: (key) => this.#checkImages(key),
    });
    return { name, clock, store };
  }

  /** As `loadArchive` does it, one blob after the other. */
  async #load({ name, clock, store }: Actor): Promise<void> {
    const { Layout, storeBlob, checkClosure, publish, RescuingStore } = this.#protocol;
    const image = this.#anyImage();
    // A process has memory of its own: one that is killed keeps none from the others.
    const budget = new ByteBudget(1);
    const { signal } = new AbortController();
    setMaxListeners(0, signal);
    const rescuing = new RescuingStore(store, clock);
    const known = new Map<Digest, Uint8Array>();
    const pauseMs = this.#random() < 0.3 ? 50 * minute : this.#random() * minute;
    const asker = new RescuingStore(store, clock);
    for (const [digest, bytes] of image.blobs) {
      if (image.parts.has(digest) && this.#random() < 0.3 && (await asker.head(blobKey(digest)))) continue;
      await clock.sleep(this.#random() * pauseMs);
      const blob = { digest, size: bytes.length, body: new ByteReader(once(bytes)).stream() };
      const { stored } = await storeBlob(blob, { store: rescuing, budget, signal });
      this.sights.add(`a load found a blob ${await stored}`);
      known.set(digest, bytes);
    }
    const layout = Layout.open(store, { clock }).through(rescuing);
    const json = new JsonMemory(layout, { signal });
    const closure = await checkClosure(layout, [image.root], {
      json,
      known: { sizeOf: (it) => known.get(it)?.length, manifest: (it) => known.get(it) },
    });
    if (!rescuing.isFresh) this.sights.add("a load looked twice");
    const changes = [{ ...image.change, ...this.#anyEnd(image, clock) }];
    await publish(layout, closure, { repository: this.#anyRepository(), changes }, json);
    this.#scheduler.note(`${name} has published ${image.root.digest}`);
  }

  /** As `stowage copy` does it, from a store that has all images. Some bytes take long. */
  async #copy({ name, clock, store }: Actor): Promise<void> {
    const { Layout, planCopy, copyImages } = this.#protocol;
    const { signal } = new AbortController();
    const pauseMs = this.#random() < 0.3 ? 3 * hour : this.#random() * minute;
    const source = new SlowSource(await openSampleStore(), async () => clock.sleep(this.#random() * pauseMs));
    const chosen = sampleImages.filter(() => this.#random() < 0.4);
    const images = chosen.map(({ change }) => ({ repository, reference: nameOf(change) }));
    const plan = await planCopy(source, images, { platforms: [], referrers: true, signal });
    const sourceStore = this.#random() < 0.5 ? source.store : undefined;
    const layout = Layout.open(store, { clock });
    const receipt = await copyImages(source, layout, plan, { sourceStore, signal });
    for (const { status } of receipt.images) this.sights.add(`a copy: ${status}`);
    for (const { error } of receipt.failures) this.sights.add(`a copy failed: ${error.code}`);
    if (receipt.blobs.present.blobs > 0 && receipt.blobs.copied.blobs > 0) this.sights.add("a copy moved a part");
    this.#scheduler.note(`${name} has copied ${receipt.images.length} of ${images.length} images`);
  }

  /** The requests of a client come to two services, each a process of its own. */
  async #push({ name }: Actor): Promise<void> {
    const services = ["a", "b"].map((letter) => openService(this.#protocol, this.#newActor(`${name}${letter}`)));
    const client = new PushClient({
      image: this.#anyImage(),
      services,
      scheduler: this.#scheduler,
      random: this.#random,
      safeMs: graceMs - hour / 2, // a mark, and the clocks of the two gcs, can each be a quarter of an hour late
      pauseMs: this.#random() < 0.3 ? 3 * hour : minute,
      onSight: (sight) => this.sights.add(sight),
      onProblem: (problem) => {
        this.problems.push(problem);
        this.#scheduler.note(problem);
      },
    });
    await client.push();
  }

  async #remove({ clock, store }: Actor): Promise<void> {
    const image = this.#anyImage();
    if (image.change.op === "set" && image.change.subject !== undefined) return;
    const removed = [image.root.digest, ...image.children];
    const changes = removed.map((digest) => ({ op: "remove", digest }) as const);
    const { Layout, updateRepository } = this.#protocol;
    await updateRepository(Layout.open(store, { clock }), { repository: this.#anyRepository(), changes });
  }

  async #collect({ clock, store }: Actor): Promise<void> {
    const { Layout, collectGarbage } = this.#protocol;
    const layout = Layout.open(store, { clock });
    const inSlices = { loads: 0, copies: 0, pushes: 0, slices: 0.9, retention: 0.5 }[this.#setting];
    if (inSlices > 0 && this.#random() < inSlices) return this.#collectSlices(layout);
    const report = await collectGarbage(layout, { graceMs, retention: this.#rules });
    this.#noteReport(report);
  }

  /** A slice of a few requests. When all is quiet, slices to the end of a run. */
  async #collectSlices(layout: Layout): Promise<void> {
    const most = this.#random() < 0.5 ? 6 : 60;
    const everyMs = this.#isQuiet || this.#random() < 0.8 ? 0 : 3 * hour;
    for (;;) {
      const maxRequests = 1 + Math.floor(this.#random() * most);
      const options = { graceMs, everyMs, maxMs: 5 * minute, maxRequests, retention: this.#rules };
      const report = await this.#protocol.collectSlice(layout, options);
      this.sights.add(`a slice: ${report.state}`);
      this.#noteReport(report);
      if (!this.#isQuiet || report.state === "finished") return;
    }
  }

  get #rules(): readonly RetentionRule[] {
    return this.#setting === "retention" ? rules : [];
  }

  /** Loads of the same image make its end later, earlier, or take it away. A referrer ends with its subject. */
  #anyEnd({ change }: SampleImage, clock: Clock): Pick<SetChange, "expires"> {
    if (this.#setting !== "retention" || change.subject !== undefined || this.#random() < 0.3) return {};
    return { expires: new Date(clock.now() + this.#random() * dropAfterMs).toISOString() };
  }

  #noteReport(report: GarbageReport): void {
    if (report.dropped > 0) this.sights.add("a gc: dropped");
    for (const [what, { blobs }] of Object.entries(report)) if (blobs > 0) this.sights.add(`a gc: ${what}`);
  }

  #anyImage(): SampleImage {
    const image = sampleImages[Math.floor(this.#random() * sampleImages.length)];
    if (image === undefined) throw new Error("expected some images");
    return image;
  }

  #anyRepository(): string {
    const names = repositories[this.#setting];
    return names.length === 1 ? repository : (names[Math.floor(this.#random() * names.length)] ?? repository);
  }

  /** What a load or a gc cannot do it says; what it leaves then must be right all the same. */
  #fail(name: string, error: unknown): void {
    this.#scheduler.note(`${name} failed: ${messageOf(error)}`);
    if (error instanceof this.#protocol.StowageError) this.sights.add(`failed: ${error.code}`);
    else this.problems.push(`${name} threw ${messageOf(error)}`);
  }

  #entries(name: string): readonly Descriptor[] {
    return this.#index(name)?.entries ?? [];
  }

  #removed(name: string): readonly string[] {
    return this.#index(name)?.removed ?? [];
  }

  #index(name: string): RepositoryIndex | undefined {
    const bytes = this.#objects.get(indexKey(name))?.bytes;
    return bytes === undefined ? undefined : parseRepositoryIndex(bytes, indexKey(name));
  }

  /** Called after each change of the bucket. */
  #checkImages(key: string): void {
    if (key.startsWith(condemnedPrefix)) return;
    for (const name of repositories[this.#setting]) {
      const entries = this.#entries(name);
      for (const entry of entries) {
        const lost = neededBy(entry.digest).find((digest) => !this.#objects.has(blobKey(digest)));
        if (lost === undefined) continue;
        this.problems.push(`${tagOf(entry) ?? entry.digest} has lost ${lost}: ${key} was changed`);
        this.#scheduler.note(this.problems.at(-1) ?? "");
      }
      this.#checkReferrers(name, entries);
      if (this.#setting === "retention") this.#checkDrops(name, entries);
    }
  }

  /** An entry that nobody has removed goes only once its end is over, or once it is old enough. */
  #checkDrops(name: string, entries: readonly Descriptor[]): void {
    const named = new Map(entries.map((entry) => [tagOf(entry) ?? entry.digest, entry]));
    const latest = this.#scheduler.now + maxSkewMs;
    for (const [reference, entry] of this.#named.get(name) ?? []) {
      if (named.has(reference) || this.#removed(name).includes(entry.digest)) continue;
      const isOver = (endOf(entry) ?? Number.POSITIVE_INFINITY) <= latest;
      const isOld = reference !== "second" && (changeTimeOf(entry) ?? 0) + dropAfterMs <= latest;
      if (isOver || isOld) continue;
      this.problems.push(`${name} has lost ${reference} too early`);
      this.#scheduler.note(this.problems.at(-1) ?? "");
    }
    this.#named.set(name, named);
  }

  #checkReferrers(name: string, entries: readonly Descriptor[]): void {
    const digests = new Set(entries.map(({ digest }) => digest));
    for (const entry of this.#referrers.get(name) ?? []) {
      const subject = subjectOf(entry) ?? "sha256:";
      if (digests.has(entry.digest) || !digests.has(subject)) continue;
      this.problems.push(`${subject} has lost ${entry.digest}, which says something about it`);
      this.#scheduler.note(this.problems.at(-1) ?? "");
    }
    this.#referrers.set(
      name,
      entries.filter((entry) => subjectOf(entry) !== undefined),
    );
  }

  #checkNothingIsLeft(): void {
    const entries = repositories[this.#setting].flatMap((name) => this.#entries(name));
    const needed = new Set(entries.flatMap((entry) => neededBy(entry.digest).map(blobKey)));
    const isLeft = (key: string): boolean =>
      key.startsWith(condemnedPrefix) ||
      key.startsWith(stagingPrefix) ||
      (key.startsWith(blobsPrefix) && !needed.has(key));
    this.problems.push(...[...this.#objects.keys()].filter(isLeft).map((key) => `${key} is left`));
    const digests = new Set(entries.map(({ digest }) => digest));
    const orphans = entries.filter((entry) => !digests.has(subjectOf(entry) ?? entry.digest));
    this.problems.push(...orphans.map(({ digest }) => `the orphan ${digest} is left`));
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield Uint8Array.from(bytes);
}
