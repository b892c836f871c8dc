/** The style of the page: system fonts, two colours, light and dark. */
export const style = `
:root {
  color-scheme: light dark;
  --ground: #faf9f7;
  --sheet: #ffffff;
  --ink: #1d1c1a;
  --muted: #66625c;
  --line: #e4e0d9;
  --field: #8b867e;
  --accent: #0b6357;
  --on-accent: #ffffff;
  --tint: #eef4f2;
  --danger: #a3281d;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono", Menlo, Consolas, monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #151514;
    --sheet: #1d1d1b;
    --ink: #eceae5;
    --muted: #a6a29a;
    --line: #33322f;
    --field: #78746d;
    --accent: #6fcfbe;
    --on-accent: #0c1f1c;
    --tint: #1b2826;
    --danger: #f0988d;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0;
  background: var(--ground);
  color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere;
}
[hidden] { display: none !important; }
.wide { width: 100%; max-width: 62rem; margin: 0 auto; padding: 0 1.25rem; }
a { color: var(--accent); text-underline-offset: .18em; text-decoration-thickness: .06em; }
a:hover { text-decoration-thickness: .12em; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: .25rem; }
code, .digest { font-family: var(--mono); font-size: .875em; }
small, .muted { color: var(--muted); font-weight: 400; }
.skip { position: absolute; left: -100vw; top: 0; padding: .5rem 1rem; background: var(--sheet); z-index: 1; }
.skip:focus { left: 0; }

.top { border-bottom: 1px solid var(--line); background: var(--sheet); }
.top .wide { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem 1.5rem; min-height: 3.75rem; padding-block: .5rem; }
.brand { display: flex; align-items: center; gap: .6rem; color: var(--ink); font-weight: 650; letter-spacing: -.01em; text-decoration: none; }
.brand img { display: block; }
.top nav { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem 1.25rem; margin-left: auto; }
.top nav a, .caller, .quiet { color: var(--muted); text-decoration: none; padding: .3rem 0; border-bottom: 2px solid transparent; }
.top nav a:hover { color: var(--ink); }
.top nav a[aria-current] { color: var(--ink); border-color: var(--accent); }
.caller { padding: 0 0 0 1.25rem; border-left: 1px solid var(--line); max-width: 12rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }

main { padding-top: 2.25rem !important; padding-bottom: 5rem !important; }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.2; letter-spacing: -.02em; font-weight: 650; }
h1 small { font-size: 1rem; letter-spacing: 0; white-space: nowrap; }
h1 .path { font-weight: 500; }
h1 .reference { color: var(--muted); font-weight: 500; }
h2 { margin: 2.75rem 0 .75rem; font-size: 1.0625rem; letter-spacing: -.005em; font-weight: 650; }
h2 small { font-size: .9375rem; margin-left: .2rem; }
h1 + p { margin-top: .8rem; }
.heading { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: .9rem 2rem; margin-bottom: 1.5rem; }
.crumbs { margin-bottom: .2rem; font-size: .9375rem; }
.crumbs a { display: inline-block; padding: .15rem 0; color: var(--muted); text-decoration: none; }
.crumbs a:hover { color: var(--ink); text-decoration: underline; }
.crumbs a + a::before { content: "/"; margin: 0 .5rem; color: var(--field); }

ul, ol { margin: 0; padding: 0; list-style: none; }
.rows, .layers, .facts, .commands, .texts { background: var(--sheet); border: 1px solid var(--line); border-radius: .75rem; margin: 0; }
.rows li, .layers li { display: flex; align-items: baseline; justify-content: space-between; gap: .1rem 1.5rem; padding: .7rem 1.1rem; }
.rows li + li, .layers li + li, .commands div + div, .texts div + div { border-top: 1px solid var(--line); }
.rows li { position: relative; }
.rows li:hover { background: var(--tint); }
.rows li:first-child { border-radius: .7rem .7rem 0 0; }
.rows li:last-child { border-radius: 0 0 .7rem .7rem; }
.rows li:only-child { border-radius: .7rem; }
.name { color: var(--ink); font-weight: 600; text-decoration: none; }
.name.digest { font-weight: 500; }
.name::after { content: ""; position: absolute; inset: 0; }
.rows li:hover .name { color: var(--accent); }
.path { color: var(--muted); font-weight: 400; }
.meta { display: flex; flex: none; align-items: baseline; gap: .1rem 1.25rem; color: var(--muted); font-size: .9375rem; }
.meta a { position: relative; text-decoration: none; padding: .15rem 0; }
.meta a:hover { text-decoration: underline; }
.meta time, .meta .size { white-space: nowrap; }
.platforms { display: flex; flex-wrap: wrap; gap: .25rem .4rem; }
.chip { display: inline-block; font-size: .8125rem; padding: .02rem .5rem; border: 1px solid var(--line); border-radius: 1rem; background: var(--ground); white-space: nowrap; }
.name + .chip { margin-left: .4rem; color: var(--muted); border-color: var(--field); }
.name + .over { color: var(--danger); border-color: currentColor; }
.rows .chip time { min-width: 0; }
.empty { padding: 2.5rem 1.25rem; border: 1px dashed var(--field); border-radius: .75rem; text-align: center; }
.empty p { margin: 0 0 1rem; color: var(--muted); }
.empty p:last-child { margin: 0; }
.button + p { margin-top: 1.5rem; }
.empty .subject { text-align: left; }
.pager { display: flex; justify-content: space-between; gap: 1rem; margin-top: 1.1rem; }

.facts { display: flex; flex-wrap: wrap; gap: 1.1rem 2.75rem; padding: 1.1rem; }
.facts .long { flex-basis: 100%; }
.facts small { display: block; font-size: .875rem; }
.facts dd a { display: inline-block; padding: .15rem 0; }
.tags { display: flex; flex-wrap: wrap; gap: 0 1rem; }
dt { color: var(--muted); font-size: .875rem; }
dd { margin: 0; }
.facts dd { font-weight: 500; }
.facts .long dd { font-weight: 400; }
.commands div { display: grid; grid-template-columns: 5rem minmax(0, 1fr); align-items: center; padding: .5rem 1.1rem; gap: .1rem 1rem; }
.texts div { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 5fr); gap: .1rem 1.5rem; padding: .55rem 1.1rem; }
.texts dd { white-space: pre-wrap; font-family: var(--mono); font-size: .875rem; }
.texts dt { line-height: 1.6; }
.layers { counter-reset: layer; }
.layers li { counter-increment: layer; }
.layers li::before { content: counter(layer); color: var(--muted); font-size: .875rem; min-width: 1.25rem; }
.made-by { flex: 1; min-width: 0; line-height: 1.4; }
.size { min-width: 4.5rem; text-align: right; }
.images .size { min-width: 6rem; }
.rows time { min-width: 8.5rem; text-align: right; }
.copyable { display: flex; align-items: flex-start; justify-content: space-between; gap: .75rem; }
.copyable code { padding-top: .2rem; }
.rows .copyable { position: relative; flex-basis: 100%; }
.rows:has(.copyable) li { flex-wrap: wrap; }

button, .button, input { font: inherit; color: inherit; }
.button, .search button, .copyable button {
  display: inline-block; padding: .4rem .9rem; border: 1px solid var(--field); border-radius: .5rem;
  background: var(--sheet); color: var(--ink); text-decoration: none; cursor: pointer; line-height: 1.4; white-space: nowrap;
}
.button:hover, .search button:hover, .copyable button:hover { background: var(--tint); border-color: var(--accent); }
.button.primary { background: var(--accent); border-color: var(--accent); color: var(--on-accent); font-weight: 600; }
.button.primary:hover { filter: brightness(1.08); }
.button.primary:disabled { opacity: .55; cursor: default; filter: none; }
.button.danger { color: var(--danger); }
.button.primary.danger { color: var(--on-accent); background: var(--danger); border-color: var(--danger); }
.copyable button { flex: none; padding: .1rem .6rem; font-size: .875rem; border-color: var(--line); color: var(--muted); }
.quiet { border-width: 0 0 2px; background: none; cursor: pointer; }
.quiet:hover { color: var(--ink); }
.actions { display: flex; flex-wrap: wrap; gap: .6rem; margin: 0; }
input[type="search"], input[type="text"], input[type="password"] {
  width: 100%; padding: .45rem .75rem; border: 1px solid var(--field); border-radius: .5rem; background: var(--sheet);
}
::placeholder { color: var(--muted); opacity: 1; }
.search { display: flex; gap: .5rem; flex: 0 1 24rem; }
.search input { min-width: 0; }
.stack { display: flex; flex-direction: column; gap: .45rem; align-items: stretch; margin: 1.25rem 0; }
.stack label { font-weight: 600; margin-top: .5rem; }
.stack label .muted { font-weight: 400; }
.stack .button, .stack .actions { align-self: flex-start; margin-top: .75rem; }
.stack .actions .button { margin-top: 0; }
.narrow { max-width: 36rem; }
.medium { max-width: 46rem; }
.subject { padding: .7rem 1rem; background: var(--sheet); border: 1px solid var(--line); border-radius: .5rem; }
.subject small { display: block; margin-top: .3rem; font-size: .8125rem; }
.problem, [aria-invalid] { color: var(--danger); }
.problem { margin: .25rem 0 0; }
#status.problem { padding: .7rem 1rem; border: 1px solid var(--danger); border-radius: .5rem; background: var(--sheet); }
input[aria-invalid] { border-color: var(--danger); color: var(--ink); }
.notice { padding: .7rem 1.1rem; background: var(--tint); border-radius: .5rem; margin: 0 0 1.25rem; }

.drop { padding: 1.5rem 1.25rem; border: 1.5px dashed var(--field); border-radius: .75rem; background: var(--sheet); }
.drop label { display: block; margin: 0 0 .5rem; }
.drop input { max-width: 100%; }
.drop p { margin: .5rem 0 0; }
.drop.over { border-color: var(--accent); background: var(--tint); }
::file-selector-button { font: inherit; padding: .35rem .8rem; margin-right: .75rem; border: 1px solid var(--field); border-radius: .5rem; background: var(--sheet); color: var(--ink); cursor: pointer; }
progress { width: 100%; height: .6rem; border: 0; border-radius: 1rem; overflow: hidden; background: var(--line); appearance: none; display: block; }
progress::-webkit-progress-bar { background: var(--line); }
progress::-webkit-progress-value { background: var(--accent); }
progress::-moz-progress-bar { background: var(--accent); }
#status { margin: .5rem 0 0; color: var(--muted); }
#status.problem { color: var(--danger); }
#receipt { margin-top: 1rem; }

@media (max-width: 40rem) {
  .wide { padding: 0 1rem; }
  main { padding-top: 1.5rem !important; }
  h1 { font-size: 1.4rem; }
  .search { flex: 1 1 100%; }
  .rows li { flex-direction: column; align-items: flex-start; padding: .65rem .9rem; }
  .rows li .meta { flex-wrap: wrap; }
  .rows time, .images .size, .size { min-width: 0; text-align: left; }
  .rows .copyable { width: 100%; }
  .images .meta { column-gap: .9rem; }
  .images .platforms { order: 1; }
  .layers li { flex-wrap: wrap; padding: .65rem .9rem; }
  .layers .meta { flex-basis: 100%; padding-left: 2.75rem; }
  .commands div, .texts div { grid-template-columns: minmax(0, 1fr); padding: .55rem .9rem; }
  .facts { display: grid; padding: .9rem; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1.1rem; }
  .facts .long { grid-column: 1 / -1; }
  .top .wide { column-gap: .75rem; }
  .top nav { gap: .25rem .75rem; }
  .caller { display: none; }
  .wide:has(.caller) .brand span { position: absolute; left: -100vw; }
}
@media (prefers-reduced-motion: no-preference) {
  .rows li, .button, .top nav a { transition: background-color .12s, color .12s, border-color .12s; }
}
`;
