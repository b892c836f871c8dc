// Keeps results beside the page on performance, and makes the tables and plots of the page of them. `docs` is the folder.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { format } from "prettier";
import { growthKinds, growthTable } from "./growth-summary.mjs";
import { barChart, lineCharts } from "./plots.mjs";
import { stores } from "./stores.mjs";
import { summarize, tableOf } from "./summary.mjs";
import { tarballs } from "./tarballs.mjs";

/** Puts the results of loads in the place of former ones of the same store and tarball. */
export function keepLoads(docs, { results, titles, machine }) {
  const { results: former = [], titles: formerTitles = {} } = readJson(docs, "loads");
  const cells = new Set(results.map(({ store, tarball }) => `${store} ${tarball}`));
  const kept = former.filter(({ store, tarball }) => !cells.has(`${store} ${tarball}`));
  writeJson(docs, "loads", { machine, titles: { ...formerTitles, ...titles }, results: [...kept, ...results] });
}

/** Puts the results of one kind of growth in the place of the former ones. */
export function keepGrowth(docs, kind, results, machine) {
  const { kinds = {} } = readJson(docs, "growth");
  writeJson(docs, "growth", { machine, kinds: { ...kinds, [kind]: results } });
}

/** Makes everything that is generated out of the kept results. */
export async function makePage(docs) {
  const loads = readJson(docs, "loads");
  if (loads.results !== undefined) await writeLoads(docs, loads);
  const growth = readJson(docs, "growth");
  if (growth.kinds !== undefined) await writeGrowth(docs, growth);
}

async function writeLoads(docs, { results, titles, machine }) {
  const order = (known, key) => (a, b) => known.indexOf(a[key]) - known.indexOf(b[key]);
  const summaries = summarize(results)
    .toSorted(order(Object.keys(tarballs), "tarball"))
    .toSorted(order(Object.keys(stores), "store"));
  const measured = Object.keys(stores).filter((name) => summaries.some(({ store }) => store === name));
  const images = measured.map((store) => {
    const ofStore = summaries.filter((summary) => summary.store === store);
    writeFileSync(join(docs, `performance/loads-${store}.svg`), loadsChart(store, ofStore, titles));
    return `![${plain(stores[store].title)}: seconds of each load](performance/loads-${store}.svg)`;
  });
  const note = `Measured on ${machine}. [Every figure](performance/loads.md): seconds, CPU, memory, requests.`;
  await replaceGenerated(docs, "loads", [note, ratioTables(summaries, titles), ...images].join("\n\n"));
  const tables = summaries.map((summary) => tableOf(summary, { titles, stores, tarballs }));
  const head =
    "# Every figure of the loads\n\n`npm run bench -- --all --write docs` makes this page; " +
    "[bench/README.md](../../bench/README.md) says how it measures. " +
    "Figures are medians; `×` is the median of the ratios to the first row, within a round. " +
    "A program that took too long was ended, and its row begins with `>`.\n\n" +
    `Measured on ${machine}.`;
  writeFileSync(join(docs, "performance/loads.md"), await format([head, ...tables].join("\n\n"), markdown));
}

/** How many times as long as Stowage each contender took: first what is not Stowage, then Stowage on other runtimes. */
function ratioTables(summaries, titles) {
  const compared = summaries.filter(({ base }) => base === "stowage");
  const isStowage = (name) => titles[name]?.startsWith("Stowage") === true;
  const names = [...new Set(compared.flatMap(({ rows }) => rows.map(({ contender }) => contender)))];
  const known = Object.keys(titles).filter((name) => names.includes(name) && name !== "stowage");
  const others = known.filter((name) => !isStowage(name)).map((name) => ({ name, title: name }));
  const runtimes = known.filter(isStowage).map((name) => ({ name, title: titles[name].replace("Stowage, ", "") }));
  const base = titles.stowage;
  return [ratiosTable(compared, others, base), ratiosTable(compared, runtimes, base)].filter(Boolean).join("\n\n");
}

function ratiosTable(summaries, columns, baseTitle) {
  const lines = summaries.flatMap(({ store, tarball, rows }) => {
    const rowOf = (name) => rows.find(({ contender }) => contender === name);
    if (!columns.some(({ name }) => rowOf(name) !== undefined)) return [];
    const cells = columns.map(({ name }) => {
      const row = rowOf(name);
      return row?.timeRatio === undefined ? "" : `${row.isCut ? "> " : ""}${row.timeRatio.toFixed(2)}`;
    });
    return [[stores[store].short, tarballs[tarball].title, `${rowOf("stowage").seconds.toFixed(2)} s`, ...cells]];
  });
  if (lines.length === 0) return undefined;
  const head = ["store", "tarball", baseTitle, ...columns.map(({ title }) => title)];
  const format = (cells) => `| ${cells.join(" | ")} |`;
  return [head, head.map((_, i) => (i < 2 ? "---" : "---:")), ...lines].map(format).join("\n");
}

function loadsChart(store, summaries, titles) {
  const groups = summaries.map(({ tarball, rows }) => ({
    title: tarballs[tarball].title,
    bars: rows.map(({ contender, seconds, isCut }) => ({
      label: plain(titles[contender] ?? contender),
      value: seconds,
      text: isCut ? `ended after ${seconds.toFixed(0)} s` : `${seconds.toFixed(2)} s`,
      fill: contender === "stowage" ? "a" : (titles[contender] ?? "").startsWith("Stowage") ? "c" : "b",
    })),
  }));
  const description = summaries
    .map(
      ({ tarball, rows }) =>
        `${tarballs[tarball].title}: ${rows.map((row) => `${plain(titles[row.contender] ?? row.contender)} ${row.seconds.toFixed(2)} s`).join(", ")}.`,
    )
    .join(" ");
  return barChart({ title: plain(stores[store].title), description, unit: "s", groups });
}

async function writeGrowth(docs, { kinds, machine }) {
  const parts = [`Measured on ${machine}.`];
  for (const [kind, results] of Object.entries(kinds)) {
    const { title, unit, plots } = growthKinds[kind];
    const panels = plots.map((plot) => ({
      title: plot.title,
      xUnit: unit,
      lines: Object.entries(plot.lines).map(([key, label]) => ({
        label,
        points: results.map((each) => [each.x, each[key]]),
      })),
    }));
    const description = `${title}, from ${results[0].x} to ${results.at(-1).x} ${unit}: ${plots.map((plot) => plot.title).join("; ")}.`;
    writeFileSync(join(docs, `performance/growth-${kind}.svg`), lineCharts({ title, description, panels }));
    parts.push(`![${description}](performance/growth-${kind}.svg)`, growthTable(kind, results));
  }
  await replaceGenerated(docs, "growth", parts.join("\n\n"));
}

const markdown = { parser: "markdown", printWidth: 120 };

/** Between two comments of the page; the rest of the page is written by hand. */
async function replaceGenerated(docs, name, text) {
  const page = readFileSync(join(docs, "performance.md"), "utf8");
  const [begin, end] = [`<!-- begin: bench ${name} -->`, `<!-- end: bench ${name} -->`];
  const [before, rest] = page.split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) throw new Error(`found no "${begin}" and "${end}" in ${join(docs, "performance.md")}`);
  const made = `${before}${begin}\n\n${text}\n\n${end}${after}`;
  writeFileSync(join(docs, "performance.md"), await format(made, markdown));
}

function readJson(docs, name) {
  const path = join(docs, `performance/${name}.json`);
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : {};
}

/** A line for each result, so that a change can be read. */
function writeJson(docs, name, json) {
  mkdirSync(join(docs, "performance"), { recursive: true });
  const rounded = (_, value) => (typeof value === "number" ? Math.round(value * 1000) / 1000 : value);
  const text = JSON.stringify(json, rounded).replaceAll(/\{"(store|x)"/g, '\n{"$1"');
  writeFileSync(join(docs, `performance/${name}.json`), `${text}\n`);
}

function plain(title) {
  return title.replaceAll("`", "");
}
