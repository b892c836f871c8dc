// Loads tarballs into stores by Stowage and by what a user would take instead, and compares them. See README.md.
import { mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { makeContenders } from "./contenders.mjs";
import { measure } from "./measure.mjs";
import { describeMachine } from "./machine.mjs";
import { print } from "./measuring.mjs";
import { keepLoads, makePage } from "./page.mjs";
import { planCells } from "./plan.mjs";
import { endAll } from "./programs.mjs";
import { ratioLines, summarize, tableOf } from "./summary.mjs";
import { stores } from "./stores.mjs";
import { tarballMaker, tarballs } from "./tarballs.mjs";

const { values } = parseArgs({
  options: {
    all: { type: "boolean", default: false },
    stores: { type: "string" },
    tarballs: { type: "string" },
    contenders: { type: "string" },
    against: { type: "string" }, // folders of other builds
    rounds: { type: "string" },
    scale: { type: "string" }, // 0.25: tarballs of a quarter of the size
    minutes: { type: "string" }, // no round begins that would end later
    "max-seconds": { type: "string", default: "45" },
    folder: { type: "string", default: tmpdir() },
    write: { type: "string" }, // keeps the results in this folder, such as docs, and makes the page there of them
    page: { type: "string" }, // makes the page of the results that this folder has, without measuring
  },
});
const rounds = Number(values.rounds ?? 3);
const minutes = Number(values.minutes ?? (values.all ? 18 : 1));
const scale = Number(values.scale ?? (values.all ? 1 : 0.25));
const contenders = makeContenders(values.against?.split(",") ?? []);

/** A program that takes longer is ended, and is not measured again. */
const maxSeconds = Number(values["max-seconds"]);

const folder = mkdtempSync(join(values.folder, "stowage-bench-"));
const results = [];
const failures = [];
/** How long the last measurement of each contender took as a whole. */
const lastMs = new Map();
try {
  if (values.page !== undefined) await makePage(values.page);
  else await main();
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
process.exitCode = failures.length === 0 ? 0 : 1;

async function main() {
  const cells = planCells(values, contenders);
  print(`Load of the machine ${loadavg()[0].toFixed(1)}; tarballs times ${scale}`);
  const makeOne = tarballMaker(folder, scale);
  const opened = new Map();
  const started = performance.now();
  let leftOut = 0;
  for (const { cell, round } of passes(cells)) {
    const names = cell.contenders.filter((name) => round === 1 || isWorthAnother(cell, name));
    if (names.length < Math.min(2, cell.contenders.length)) continue;
    const endsAfter =
      performance.now() - started + names.reduce((sum, name) => sum + (lastMs.get(keyOf(cell, name)) ?? 0), 0);
    if (round > 1 && endsAfter > minutes * 60_000) {
      leftOut++;
      continue;
    }
    if (!opened.has(cell.store)) {
      opened.set(cell.store, { ...(await stores[cell.store].open(folder)), ...stores[cell.store], folder });
    }
    for (const name of round % 2 === 1 ? names : names.toReversed()) {
      const began = performance.now();
      await tryOne({ ...cell, contender: name, round }, opened.get(cell.store), makeOne);
      lastMs.set(keyOf(cell, name), performance.now() - began);
    }
  }
  if (leftOut > 0)
    print(`left out: ${leftOut} rounds of a tarball, which would end after more than ${minutes} minutes`);
  print("");
  const titles = Object.fromEntries(Object.entries(contenders).map(([name, { title }]) => [name, title]));
  const summaries = summarize(results);
  for (const summary of summaries) print(`${tableOf(summary, { titles, stores, tarballs, scale })}\n`);
  print(describeMachine());
  for (const line of summaries.flatMap(ratioLines)) print(line);
  for (const failure of failures) print(`failed: ${failure}`);
  if (values.write === undefined) return;
  const machine = scale === 1 ? describeMachine() : `${describeMachine()}, with tarballs times ${scale}`;
  keepLoads(values.write, { results, titles, machine });
  await makePage(values.write);
}

/** The first round of everything, then the other rounds, those of the goals first. */
function* passes(cells) {
  for (const cell of cells) yield { cell, round: 1 };
  for (const isGoal of [true, false]) {
    for (let round = 2; round <= rounds; round++) {
      for (const cell of cells) if (cell.isGoal === isGoal) yield { cell, round };
    }
  }
}

async function tryOne({ store, tarball, contender, round }, opened, makeOne) {
  const label = keyOf({ store, tarball }, contender);
  try {
    const figures = await measure({
      store: opened,
      contender: contenders[contender],
      tarball: { ...tarballs[tarball], ...(await makeOne(tarball)) },
      warmUp: await makeOne(contenders[contender].warmUp ?? "warm-up"),
      prefix: `${contender}-${tarball}-${round}`,
      maxSeconds,
    });
    results.push({ store, tarball, contender, round, ...figures });
    const { seconds, cpuSeconds, clientCpuSeconds, peakMiB, requests } = figures;
    print(
      `round ${round}  ${label.padEnd(40)} ${seconds.toFixed(2).padStart(6)} s  CPU ${cpuSeconds.toFixed(2)} + ` +
        `${clientCpuSeconds.toFixed(2)} s  peak ${peakMiB.toFixed(0)} MiB  ${requests ?? "?"} requests`,
    );
  } catch (error) {
    failures.push(`${label}: ${error.message}`);
    print(`round ${round}  ${label.padEnd(40)} failed: ${error.message}`);
  }
}

function isWorthAnother({ store, tarball }, contender) {
  const former = results.filter((result) => keyOf(result, result.contender) === keyOf({ store, tarball }, contender));
  return former.length > 0 && former.every(({ isCut }) => isCut !== true);
}

function keyOf({ store, tarball }, contender) {
  return `${store} ${tarball} ${contender}`;
}
