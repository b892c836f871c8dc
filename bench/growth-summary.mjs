// What grows, at which points it is measured, and how the figures are shown.

const loadColumns = { seconds: "s", cpuSeconds: "CPU s", peakMiB: "peak MiB", requests: "requests" };
const loadPlots = [
  { title: "Seconds until all loads have ended", lines: { seconds: "seconds", cpuSeconds: "CPU seconds" } },
  { title: "Peak of the memory, MiB", lines: { peakMiB: "MiB" } },
];

export const growthKinds = {
  size: {
    title: "The size of one layer",
    unit: "GiB",
    points: [0.5, 1, 2, 4],
    maxPoints: [8, 16],
    columns: loadColumns,
    plots: loadPlots,
  },
  blobs: {
    title: "Blobs of 1 KiB in one tarball",
    unit: "blobs",
    points: [1000, 5000, 20_000],
    maxPoints: [50_000, 100_000],
    columns: loadColumns,
    plots: loadPlots,
  },
  loads: {
    title: "Loads of 16 MiB at once",
    unit: "loads",
    points: [1, 4, 16, 64],
    maxPoints: [128, 256],
    columns: loadColumns,
    plots: loadPlots,
  },
  tags: {
    title: "Tags of one repository",
    unit: "tags",
    points: [100, 1000, 10_000],
    maxPoints: [25_000, 50_000, 100_000],
    columns: {
      indexMiB: "index MiB",
      commitMs: "commit ms",
      pullMs: "pull ms",
      firstPageMs: "first page ms",
      allPagesMs: "all pages ms",
      peakMiB: "peak MiB",
      crowdPeakMiB: "… of a crowd",
    },
    plots: [
      { title: "Milliseconds", lines: { commitMs: "commit", pullMs: "pull", firstPageMs: "first page" } },
      { title: "Peak of the memory, MiB", lines: { peakMiB: "one at a time", crowdPeakMiB: "a crowd" } },
    ],
  },
};

/** The table of one kind, in Markdown. */
export function growthTable(kind, results) {
  const { unit, columns } = growthKinds[kind];
  const head = [unit, ...Object.values(columns)];
  const lines = results.map((result) => [
    result.x.toLocaleString("en"),
    ...Object.keys(columns).map((key) => numberOf(key, result[key])),
  ]);
  return [head, head.map(() => "---:"), ...lines].map((line) => `| ${line.join(" | ")} |`).join("\n");
}

function numberOf(key, value) {
  const digits = key === "seconds" ? 2 : key === "cpuSeconds" || key === "indexMiB" ? 1 : 0;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
