/**
 * Two services, copies and gcs on one store, killed with SIGKILL at random moments while clients load, push and delete. After each
 * kill nothing is wrong, and nothing that was acknowledged is missing. `STOWAGE_TEST_RUNS=200` kills more often than five times.
 */
import { readdir, utimes } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { collectGarbage } from "../../src/gc/collect-garbage.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { seededRandom } from "../commit/scheduler.ts";
import { blobsOf } from "../copy/copying.ts";
import { clockAfter, hour } from "../gc/clock-after.ts";
import { makeS3Store, s3Environment } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { keysOf } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";
import {
  type RunningCommand,
  type ServingCommand,
  newFolder,
  serveStowage,
  startCommand,
} from "../support/run-stowage.ts";
import { Ledger } from "./ledger.ts";
import { Traffic } from "./traffic.ts";

const kills = Number(process.env["STOWAGE_TEST_RUNS"] ?? 5);
const seed = Number(process.env["STOWAGE_TEST_SEED"] ?? Date.now() % 2 ** 31);
const longestRoundMs = 2500;
const timeout = 60_000 + kills * 30_000;

interface Place {
  /** The services' store. */
  readonly main: ObjectStore;
  /** Where images are copied to. */
  readonly target: ObjectStore;
  /** Of all processes. */
  readonly env: Readonly<Record<string, string>>;
}

/** Processes and clients, for one test. */
class Bench {
  readonly #place: Place;
  readonly #random = seededRandom(seed);
  readonly #ledger = new Ledger();
  readonly #copied = new Ledger();
  readonly #traffic: Traffic;
  #services: ServingCommand[] = [];
  readonly #commands = new Set<RunningCommand>();
  #isOver = false;
  #rounds = 0;
  #victims = 0;

  constructor(place: Place) {
    this.#place = place;
    this.#traffic = new Traffic({
      ledger: this.#ledger,
      copied: this.#copied,
      random: this.#random,
      url: () => this.#pick(this.#services).url,
      copy: async (name) => this.#run(["copy", place.main.url, place.target.url, name]),
    });
  }

  async open(): Promise<void> {
    await this.#startServices();
    expect(await this.#traffic.act("copy", "team/first:1"), this.#where()).toBe(true);
  }

  /** Kills some of the processes at a random moment. The others end what they do. */
  async killOnce(): Promise<void> {
    this.#isOver = false;
    const { main, target } = this.#place;
    const clients = this.#traffic.run(["load", "load", "push", "push", "delete", "copy"], () => this.#isOver);
    const work = Promise.all([clients, this.#gc(main), this.#gc(target)]);
    await Promise.race([sleep(this.#random() * longestRoundMs), work]);
    this.#isOver = true;
    const processes = [...this.#services, ...this.#commands];
    const victims = new Set(processes.filter(() => this.#random() < 0.5)).add(this.#pick(processes));
    for (const victim of victims) victim.kill("SIGKILL");
    await work;
    this.#services = this.#services.filter((service) => !victims.has(service));
    this.#rounds++;
    this.#victims += victims.size;
  }

  /** Nothing is wrong or missing, and what failed ends well when it is tried again. */
  async check(): Promise<void> {
    const { main, target } = this.#place;
    await this.#ledger.check(main, this.#where());
    await this.#copied.check(target, `${this.#where()}, copies`);
    await this.#startServices();
    expect(await this.#traffic.tryAgain(), `${this.#where()}, tried again`).toEqual([]);
  }

  /** Ends the services. What is left is removed by gc, after the times that `docs/gc.md` names. */
  async close(): Promise<void> {
    for (const service of this.#services) service.kill("SIGTERM");
    for (const service of this.#services) expect(await service.outcome, this.#where()).toMatchObject({ code: 0 });
    for (const [store, ledger] of [
      [this.#place.main, this.#ledger],
      [this.#place.target, this.#copied],
    ] as const) {
      for (const hours of [25, 50, 75]) await collectGarbage(openLayout(store, undefined, clockAfter(hours * hour)));
      await ledger.check(store, `${this.#where()}, and gcs`);
      const needed = new Set(ledger.images().flatMap(({ blobs }) => [...blobs.keys()]));
      expect(await blobsOf(store), this.#where()).toEqual([...needed].toSorted());
      const rest = (await keysOf(store)).filter((key) => !/^blobs\/|(^|\/)(oci-layout|index\.json)$/.test(key));
      expect(rest, this.#where()).toEqual([]);
    }
    const counts = [...this.#traffic.counts].map(([outcome, count]) => `${outcome} ${count}`).toSorted();
    if (kills > 5)
      process.stdout.write(`${this.#rounds} rounds with kills, ${this.#victims} processes: ${counts.join(", ")}\n`);
  }

  async #startServices(): Promise<void> {
    const { main, env } = this.#place;
    while (this.#services.length < 2) this.#services.push(await serveStowage(["--store", main.url], env));
  }

  async #gc({ url }: ObjectStore): Promise<void> {
    while (!this.#isOver) await this.#run(["gc", "--store", url, "--grace", "1h"]);
  }

  /** Returns false if the command was killed. */
  async #run(args: readonly string[]): Promise<boolean> {
    const command = await startCommand(args, { env: this.#place.env });
    this.#commands.add(command);
    const { code, stderr } = await command.outcome;
    this.#commands.delete(command);
    this.#traffic.count(`${args[0]}: ${code === 0 ? "done" : "killed"}`);
    if (code !== null) expect(code, `${this.#where()}: ${args.join(" ")}: ${stderr}`).toBe(0);
    return code === 0;
  }

  #pick<T>(list: readonly T[]): T {
    const item = list[Math.floor(this.#random() * list.length)];
    if (item === undefined) throw new Error("expected a choice");
    return item;
  }

  #where(): string {
    return `seed ${seed}, ${this.#rounds} kills`;
  }
}

async function killAgainAndAgain(place: Place): Promise<void> {
  const bench = new Bench(place);
  await bench.open();
  for (let kill = 0; kill < kills; kill++) {
    await bench.killOnce();
    await bench.check();
  }
  await bench.close();
}

describe("Stowage, killed at random moments", () => {
  it("loses nothing in a directory, and leaves nothing behind that gc does not remove", { timeout }, async () => {
    const folder = await newFolder();
    const clock = fileURLToPath(new URL("fast-clock.cjs", import.meta.url));
    const env = { NODE_OPTIONS: `--require ${clock}`, CLOCK_MEETS_MS: String(Date.now() + timeout) };
    const [main, target] = ["main", "target"].map((name) => new DirectoryStore(join(folder, name)));
    if (main === undefined || target === undefined) throw new Error("two stores");
    await killAgainAndAgain({ main, target, env });
    // The first write of another process removes what is an hour old.
    const written = join(folder, "main/.stowage/tmp");
    for (const name of await readdir(written)) await utimes(join(written, name), 1, 1);
    await new DirectoryStore(join(folder, "main")).put("staging/one", Buffer.of());
    expect(await readdir(written)).toEqual([]);
  });
});

await describeS3Servers(
  "Stowage, killed at random moments,",
  (server) => {
    it("loses nothing in a bucket, and leaves nothing behind that gc does not remove", { timeout }, async () => {
      const [main, target] = [await makeS3Store(server), await makeS3Store(server)];
      await killAgainAndAgain({ main, target, env: s3Environment(server) });
    });
  },
  ["versitygw"],
);
