// Plots as SVG: bars, and lines. Each brings its own background and follows the reader's choice of light or dark.
const width = 860;
const style = `
    svg { --back: #ffffff; --text: #1f2328; --faint: #59636e; --grid: #d8dee4; --a: #0969da; --b: #8c959f; --c: #bf8700; --d: #1a7f37 }
    @media (prefers-color-scheme: dark) {
      svg { --back: #0d1117; --text: #e6edf3; --faint: #9198a1; --grid: #30363d; --a: #4493f8; --b: #7d8590; --c: #d29922; --d: #3fb950 }
    }
    rect.back { fill: var(--back) } text { fill: var(--text) } .faint { fill: var(--faint) } .grid { stroke: var(--grid) }
    .fill-a { fill: var(--a) } .fill-b { fill: var(--b) } .fill-c { fill: var(--c) }
    .line-a { stroke: var(--a) } .line-b { stroke: var(--c) } .line-c { stroke: var(--d) } .dot-a { fill: var(--a) } .dot-b { fill: var(--c) } .dot-c { fill: var(--d) }
    polyline { fill: none; stroke-width: 2 }
`;

/** Groups of bars, on one scale. A group is `{ title, bars: [{ label, value, text, fill: "a" | "b" | "c" }] }`. */
export function barChart({ title, description, unit, groups }) {
  const [left, right, barHeight] = [270, 90, 18];
  const most = Math.max(...groups.flatMap(({ bars }) => bars.map(({ value }) => value)));
  const ticks = ticksTo(most);
  const xOf = (value) => left + (value / ticks.at(-1)) * (width - left - right);
  const parts = [];
  let y = 52;
  for (const group of groups) {
    parts.push(`<text x="16" y="${y + 13}" font-weight="600">${escape(group.title)}</text>`);
    y += 24;
    for (const { label, value, text, fill } of group.bars) {
      const end = xOf(value);
      parts.push(
        `<text x="${left - 8}" y="${y + 13}" text-anchor="end">${escape(label)}</text>`,
        `<rect class="fill-${fill}" x="${left}" y="${y + 2}" width="${round(Math.max(1, end - left))}" height="${barHeight - 4}" rx="2" />`,
        `<text x="${round(end + 6)}" y="${y + 13}">${escape(text)}</text>`,
      );
      y += barHeight;
    }
    y += 14;
  }
  const grid = ticks.map((tick) => {
    const x = round(xOf(tick));
    const line = `<line class="grid" x1="${x}" x2="${x}" y1="48" y2="${y}" />`;
    return `${line}<text class="faint" x="${x}" y="${y + 16}" text-anchor="middle">${tick} ${unit}</text>`;
  });
  return svg({ title, description, height: y + 30, parts: [...grid, ...parts] });
}

/** Panels beside each other: `{ title, xUnit, lines: [{ label, points: [[x, y], …] }] }`. All axes begin at 0. */
export function lineCharts({ title, description, panels }) {
  const [top, height, gap] = [84, 230, 70];
  const panelWidth = (width - 60 - gap * (panels.length - 1) - 30) / panels.length;
  const parts = panels.flatMap((panel, index) => {
    const left = 60 + index * (panelWidth + gap);
    const all = panel.lines.flatMap(({ points }) => points);
    const [xTicks, yTicks] = [
      ticksTo(Math.max(...all.map(([x]) => x)), 4),
      ticksTo(Math.max(...all.map(([, y]) => y))),
    ];
    const xOf = (x) => round(left + (x / xTicks.at(-1)) * panelWidth);
    const yOf = (y) => round(top + height - (y / yTicks.at(-1)) * height);
    return [
      `<text x="${left}" y="${top - 34}" font-weight="600">${escape(panel.title)}</text>`,
      ...yTicks.flatMap((tick) => [
        `<line class="grid" x1="${left}" x2="${round(left + panelWidth)}" y1="${yOf(tick)}" y2="${yOf(tick)}" />`,
        `<text class="faint" x="${left - 6}" y="${yOf(tick) + 4}" text-anchor="end">${format(tick)}</text>`,
      ]),
      ...xTicks.map(
        (tick) =>
          `<text class="faint" x="${xOf(tick)}" y="${top + height + 18}" text-anchor="middle">${format(tick)}</text>`,
      ),
      `<text class="faint" x="${round(left + panelWidth / 2)}" y="${top + height + 36}" text-anchor="middle">${escape(panel.xUnit)}</text>`,
      ...panel.lines.flatMap(({ label, points }, number) => {
        const letter = "abc"[number];
        const legendX = left + number * 120;
        return [
          `<circle class="dot-${letter}" cx="${legendX + 5}" cy="${top - 18}" r="4" />`,
          `<text x="${legendX + 14}" y="${top - 14}">${escape(label)}</text>`,
          `<polyline class="line-${letter}" points="${points.map(([x, y]) => `${xOf(x)},${yOf(y)}`).join(" ")}" />`,
          ...points.map(([x, y]) => `<circle class="dot-${letter}" cx="${xOf(x)}" cy="${yOf(y)}" r="3.5" />`),
        ];
      }),
    ];
  });
  return svg({ title, description, height: top + height + 50, parts });
}

function svg({ title, description, height, parts }) {
  const font = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${Math.ceil(height)}" font-family="${font}" font-size="13">`,
    `<title>${escape(title)}</title>`,
    `<desc>${escape(description)}</desc>`,
    `<style>${style}</style>`,
    `<rect class="back" width="${width}" height="${Math.ceil(height)}" rx="8" />`,
    `<text x="16" y="28" font-size="15" font-weight="600">${escape(title)}</text>`,
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}

/** Round numbers from 0 to the first that is not less than `most`. */
function ticksTo(most, count = 5) {
  const rough = Math.max(most, 1e-9) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const ticks = [0];
  while (ticks.at(-1) < most) ticks.push(Number((ticks.length * step).toPrecision(6)));
  return ticks;
}

function format(number) {
  return number.toLocaleString("en", { maximumFractionDigits: 2 });
}

function round(number) {
  return Math.round(number * 10) / 10;
}

function escape(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
