/** Writers in many processes that race for one repository, on real stores; some are killed, and the server is restarted. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { readIndex } from "../../src/layout/index/index-state.ts";
import { intentsPrefix } from "../../src/layout/keys.ts";
import { probeStore } from "../../src/layout/probe-store.ts";
import { tagOf } from "../../src/oci/index-entry.ts";
import { openStore } from "../../src/open-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { freePort } from "../infra/free-port.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { listAll } from "../storage/contract-objects.ts";
import { buildStowage } from "../support/build.ts";
import { describeIfFound } from "../support/requirement.ts";
import { missingTools } from "../tools/find-tool.ts";
import { toolEnvironment } from "../tools/run-tool.ts";
import { type AcknowledgedLoad, type RaceOptions, Race, sharedTag } from "./race.ts";

const repository = "race/app";
/** That one of 100 writers needs at worst, its lone try among them. */
const maxRounds = 6;
/**
 * As many for a tag that all want while others keep coming: an intent that one of those who came later has overtaken is stale,
 * and its writer sends another. (Of 100 who start together none needs more than 6: `commit-speed.test.ts`.)
 */
const maxSharedRounds = 14;

interface Place extends Pick<RaceOptions, "url" | "env"> {
  readonly store: ObjectStore;
}

/** The store has passed the probe by then, so that it is commits that race and not 100 probes. */
async function openProbed(url: string, env: Readonly<Record<string, string>>): Promise<Place> {
  const store = await openStore(url, env);
  await probeStore(store);
  return { url, env, store };
}

beforeAll(async () => {
  await buildStowage();
});

const races: Race[] = [];
afterEach(async () => {
  await Promise.all(races.splice(0).map((race) => race.cleanUp()));
});

async function prepare(options: RaceOptions): Promise<Race> {
  const race = await Race.prepare(options);
  races.push(race);
  return race;
}

describe("commits to a directory", { timeout: 600_000 }, () => {
  let root = "";
  const makePlace = async (): Promise<Place> => {
    root = await mkdtemp(join(tmpdir(), "stowage-race-store-"));
    return openProbed(`file:${root}`, {});
  };
  afterEach(async () => rm(root, { recursive: true }));
  testRaces(makePlace);
});

await describeS3Servers("commits to a bucket", (server) => {
  const makePlace = async (): Promise<Place> => {
    const env = s3Environment(server);
    await makeTestBucket(createS3Client(env));
    return openProbed(`s3://${testBucket}/races/${crypto.randomUUID()}`, env);
  };
  describe("by many processes", { timeout: 600_000 }, () => testRaces(makePlace));
});

describeIfFound("commits to a bucket whose server is killed", missingTools(["versitygw"]), () => {
  it("are there as far as they were acknowledged once it serves again", { timeout: 240_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), "stowage-restart-"));
    const port = await freePort();
    const env = s3Environment({ name: "versitygw", endpoint: `http://127.0.0.1:${port}`, ...keys });
    const gateways = [startGateway(folder, port)];
    try {
      const client = createS3Client(env);
      await retried(async () => makeTestBucket(client));
      const url = `s3://${testBucket}/restart`;
      const race = await prepare({ url, env, processes: 6, clients: 10 });
      race.begin();
      await race.heard(5);
      await Promise.all(gateways.map(kill));
      const acknowledged = race.acknowledged.length;
      await sleep(1000);
      gateways.push(startGateway(folder, port));
      expect(await race.ended()).toBe(6);
      expect(race.acknowledged.length, "no load went on").toBeGreaterThan(acknowledged);
      expect(race.failures.filter((failure) => !failure.startsWith("STORE_UNAVAILABLE: "))).toEqual([]);
      await expectAllThere(await openStore(url, env), race.acknowledged);
    } finally {
      await Promise.all(gateways.map(kill));
      await rm(folder, { recursive: true });
    }
  });
});

const keys = { accessKeyId: "stowage", secretAccessKey: "stowage-secret" };

function startGateway(folder: string, port: number): ChildProcess {
  const env = { ROOT_ACCESS_KEY_ID: keys.accessKeyId, ROOT_SECRET_ACCESS_KEY: keys.secretAccessKey };
  const args = ["--port", `127.0.0.1:${port}`, "--keep-alive", "--quiet", "posix", folder];
  return spawn("versitygw", args, { env: toolEnvironment(env), stdio: "ignore" });
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  if (child.exitCode === null && child.signalCode === null) await once(child, "close");
}

/** Tries for ten seconds: a server that has just started does not listen yet. */
async function retried(work: () => Promise<void>): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (tries === 20) throw error;
      await sleep(500);
    }
  }
}

function testRaces(makePlace: () => Promise<Place>): void {
  it.each([100, 200])("are all there when %i writers race", async (writers) => {
    const place = await makePlace();
    const race = await prepare({ ...place, processes: writers / 10, clients: 10 });
    race.begin();
    expect(await race.ended()).toBe(writers / 10);
    expect(race.failures, race.failures.slice(0, 3).join("; ")).toEqual([]);
    expect(race.acknowledged).toHaveLength(2 * writers);
    await expectAllThere(place.store, race.acknowledged);
    expectChain(race.acknowledged);
    // Those that were sent again have to stay for an hour.
    const sentAgain = race.acknowledged.reduce((sum, { intentsSentAgain }) => sum + intentsSentAgain, 0);
    expect(await listAll(place.store, intentsPrefix(repository))).toHaveLength(sentAgain);
    report(race.acknowledged, writers);
    if (writers > 100) return;
    const roundsOf = (isShared: boolean): number[] =>
      race.acknowledged.filter((load) => (load.tag === sharedTag) === isShared).map(({ rounds }) => rounds);
    expect(Math.max(...roundsOf(false))).toBeLessThanOrEqual(maxRounds);
    expect(Math.max(...roundsOf(true))).toBeLessThanOrEqual(maxSharedRounds);
    expect(Math.max(...race.acknowledged.map(({ writes }) => writes))).toBeLessThanOrEqual(maxRounds);
  });

  it("are there as far as they were acknowledged when a third of the processes is killed", async () => {
    const place = await makePlace();
    const race = await prepare({ ...place, processes: 6, clients: 6 });
    race.begin();
    await race.heard(10);
    race.kill(3);
    expect(await race.ended(), "nobody was killed").toBeLessThan(6);
    await expectAllThere(place.store, race.acknowledged);
  });
}

/** Each tag of a client's own is at its image, and the shared one at one of those that were loaded under it. */
async function expectAllThere(store: ObjectStore, loads: readonly AcknowledgedLoad[]): Promise<void> {
  const { index } = await readIndex(store, repository);
  const found = new Map(index.entries.map((entry) => [tagOf(entry), entry.digest]));
  const own = loads.filter(({ tag }) => tag !== sharedTag);
  expect(Object.fromEntries(own.map(({ tag }) => [tag, found.get(tag)]))).toEqual(
    Object.fromEntries(own.map(({ tag, digest }) => [tag, digest])),
  );
  expect(found.size, "an entry is there twice").toBe(index.entries.length);
}

/** Whoever moved the shared tag was told from where: together they make one chain, so that no move was lost or doubled. */
function expectChain(loads: readonly AcknowledgedLoad[]): void {
  const moves = loads.filter(({ tag }) => tag === sharedTag);
  const next = new Map(moves.map(({ previous, digest }) => [previous, digest]));
  let [at, passed] = [next.get(undefined), 0];
  for (; at !== undefined && passed <= moves.length; passed++) at = next.get(at);
  expect(passed).toBe(moves.length);
}

function report(loads: readonly AcknowledgedLoad[], writers: number): void {
  const line = (name: "rounds" | "writes" | "requests"): string => {
    const counts = loads.map((load) => load[name]).toSorted((a, b) => a - b);
    return `${name} ${counts[counts.length >> 1]} (at most ${counts.at(-1)})`;
  };
  process.stdout.write(
    `a load among ${writers} writers, median: ${line("rounds")}, ${line("writes")}, ${line("requests")}\n`,
  );
}
