/** Starts processes whose clients race to publish in one store, and gathers what was acknowledged (`race-child.mjs`). */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { isJsonObject } from "../../src/oci/json.ts";
import { makeLayout, tarOf } from "../support/layout.ts";

const childScript = fileURLToPath(new URL("race-child.mjs", import.meta.url));
const dist = fileURLToPath(new URL("../../dist", import.meta.url));

/** The tag that all of them want. */
export const sharedTag = "latest";

export interface RaceOptions {
  /** URL of the store, and the environment in which it is found. */
  readonly url: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly processes: number;
  /** In each process; they share nothing but that. */
  readonly clients: number;
}

/** A load that a client was told to have succeeded. */
export interface AcknowledgedLoad {
  readonly tag: string;
  readonly digest: string;
  readonly status: string;
  readonly previous: string | undefined;
  /** Of the commit, its lone try among them; and how often a write of the index was tried. */
  readonly rounds: number;
  readonly writes: number;
  /** How many of its intents were sent more than once, since the store did not answer. */
  readonly intentsSentAgain: number;
  readonly requests: number;
}

export class Race {
  readonly acknowledged: AcknowledgedLoad[] = [];
  /** Why other loads failed: `<code>: <message>`. */
  readonly failures: string[] = [];
  readonly #children: ChildProcess[] = [];
  readonly #folder: string;
  #ready: Promise<unknown> = Promise.resolve();

  /** Prepares a race: every client is connected, none has begun. */
  static async prepare({ url, env, processes, clients }: RaceOptions): Promise<Race> {
    const race = new Race(await mkdtemp(join(tmpdir(), "stowage-race-")));
    const ready: Promise<unknown>[] = [];
    for (let p = 0; p < processes; p++) {
      const tasks = Array.from({ length: clients }, (_, c) => `w${p * clients + c}`);
      const given = await Promise.all(
        tasks.map(async (tag) => ({ tarball: await race.#makeTarball(tag), tags: [tag, sharedTag] })),
      );
      ready.push(race.#start([dist, url, JSON.stringify(given)], env));
    }
    race.#ready = Promise.all(ready);
    await race.#ready;
    return race;
  }

  private constructor(folder: string) {
    this.#folder = folder;
  }

  begin(): void {
    for (const { stdin } of this.#children) stdin?.write("go\n");
  }

  /** Resolves once so many loads were acknowledged, or failed. */
  async heard(loads: number): Promise<void> {
    while (this.acknowledged.length + this.failures.length < loads && this.#children.some(isAlive)) await sleep(1);
  }

  /** Kills every `nth` process as a loss of power would. */
  kill(nth: number): void {
    for (const [i, child] of this.#children.entries()) if (i % nth === 0) child.kill("SIGKILL");
  }

  /** Resolves once all processes have ended, with how many of them were not killed. */
  async ended(): Promise<number> {
    await Promise.all(this.#children.filter(isAlive).map(async (child) => once(child, "close")));
    return this.#children.filter(({ exitCode }) => exitCode === 0).length;
  }

  async cleanUp(): Promise<void> {
    for (const child of this.#children) child.kill("SIGKILL");
    await this.ended();
    await rm(this.#folder, { recursive: true });
  }

  async #makeTarball(tag: string): Promise<string> {
    const path = join(this.#folder, `${tag}.tar`);
    await writeFile(path, await tarOf(makeLayout({ layers: [Buffer.from("shared by all")], label: tag })));
    return path;
  }

  async #start(args: readonly string[], env: RaceOptions["env"]): Promise<void> {
    const child = spawn(process.execPath, [childScript, ...args], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, ...env },
    });
    this.#children.push(child);
    const lines = createInterface({ input: child.stdout });
    await once(lines, "line");
    lines.on("line", (line) => this.#hear(JSON.parse(line)));
  }

  #hear(json: unknown): void {
    if (isJsonObject(json) && "failed" in json) this.failures.push(String(json["failed"]));
    else this.acknowledged.push(parseLoad(json));
  }
}

function isAlive({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null;
}

function parseLoad(json: unknown): AcknowledgedLoad {
  if (!isJsonObject(json) || !isJsonObject(json["requests"])) throw new Error(`Cannot read ${JSON.stringify(json)}`);
  const { tag, digest, status, previous, rounds, writes, intentsSentAgain, requests } = json;
  return {
    tag: String(tag),
    digest: String(digest),
    status: String(status),
    previous: typeof previous === "string" ? previous : undefined,
    rounds: Number(rounds),
    writes: Number(writes),
    intentsSentAgain: Number(intentsSentAgain),
    requests: Object.values(requests).reduce((sum: number, count) => sum + Number(count), 0),
  };
}
