// From single results to the table: medians, and ratios by the pairs of each round.
import { median } from "./measuring.mjs";

/** One summary for each store and tarball. The first contender that is a Stowage is what the others are compared with. */
export function summarize(results) {
  const cells = groupBy(results, cellOf);
  return [...cells.values()].map((ofCell) => {
    const { store, tarball } = ofCell[0];
    const names = [...new Set(ofCell.filter(({ round }) => round === 1).map(({ contender }) => contender))];
    const base = names.includes("stowage") ? "stowage" : names[0];
    const rows = names.map((contender) => rowOf(contender, ofCell, base));
    return { store, tarball, base, rows };
  });
}

function rowOf(contender, ofCell, base) {
  const own = ofCell.filter((result) => result.contender === contender);
  const medianOf = (key) =>
    own.some((result) => result[key] === undefined) ? undefined : median(own.map((r) => r[key]));
  const pairs = own.flatMap((result) => {
    const other = ofCell.find(({ contender: name, round }) => name === base && round === result.round);
    return other === undefined ? [] : [[result, other]];
  });
  const ratioOf = (key) => (pairs.length === 0 ? undefined : median(pairs.map(([a, b]) => a[key] / b[key])));
  return {
    contender,
    rounds: own.length,
    isCut: own.some(({ isCut }) => isCut === true),
    seconds: medianOf("seconds"),
    cpuSeconds: medianOf("cpuSeconds"),
    clientCpuSeconds: medianOf("clientCpuSeconds"),
    peakMiB: medianOf("peakMiB"),
    requests: medianOf("requests"),
    timeRatio: ratioOf("seconds"),
    cpuRatio: ratioOf("cpuSeconds"),
  };
}

/** The table of one store and tarball, in Markdown. */
export function tableOf({ store, tarball, base, rows }, { titles, stores, tarballs, scale = 1 }) {
  const lines = rows.map((row) => {
    const sign = row.isCut ? "> " : "";
    const ratio = row.contender === base ? "1" : `${sign}${(row.timeRatio ?? NaN).toFixed(2)}`;
    return [
      titles[row.contender] ?? row.contender,
      `${sign}${row.seconds.toFixed(2)}`,
      ratio,
      row.cpuSeconds.toFixed(1),
      row.contender === base ? "1" : row.isCut ? "" : (row.cpuRatio ?? NaN).toFixed(2),
      row.clientCpuSeconds.toFixed(1),
      row.peakMiB.toFixed(0),
      row.requests?.toFixed(0) ?? "",
      row.rounds,
    ];
  });
  const head = ["", "s", "× time", "CPU s", "× CPU", "client's CPU s", "peak MiB", "requests", "rounds"];
  const widths = head.map((cell, i) => Math.max(3, ...[head, ...lines].map((line) => String(line[i]).length)));
  const format = (line) =>
    `| ${line.map((cell, i) => (i === 0 ? String(cell).padEnd(widths[i]) : String(cell).padStart(widths[i]))).join(" | ")} |`;
  const rule = `| ${widths.map((width, i) => (i === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)).join(" | ")} |`;
  return [
    `**${tarballs[tarball].title}**${scale === 1 ? "" : ` (times ${scale})`} · ${stores[store].title}`,
    "",
    format(head),
    rule,
    ...lines.map(format),
  ].join("\n");
}

/** The last lines of a run, which a log keeps. */
export function ratioLines({ store, tarball, base, rows }) {
  return rows
    .filter(({ contender, timeRatio }) => contender !== base && timeRatio !== undefined)
    .map(({ contender, timeRatio, cpuRatio, isCut, rounds }) => {
      const figures = isCut
        ? `> ${timeRatio.toFixed(2)} in time`
        : `${timeRatio.toFixed(2)} in time, ${cpuRatio.toFixed(2)} in CPU`;
      return `ratio  ${`${store} ${tarball}  ${contender} / ${base}`.padEnd(46)} ${figures}, ${rounds} rounds`;
    });
}

function cellOf({ store, tarball }) {
  return `${store} ${tarball}`;
}

/** Node 20 has no `Map.groupBy`. */
function groupBy(items, keyOf) {
  const groups = new Map();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}
