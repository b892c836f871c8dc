/** Sizes, times, names and tables for people. */
import type { ChangeOutcome } from "../oci/index-change.ts";
import { formatReference } from "../oci/reference.ts";

export { formatBytes, formatCount } from "../format-bytes.ts";

/** `3.4 s`, `2 min 05 s`, `1 h 02 min`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${twoDigits(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${twoDigits(Math.floor((whole % 3600) / 60))} min`;
}

function twoDigits(count: number): string {
  return String(count).padStart(2, "0");
}

/** `team/app:1.4 updated sha256:…, was sha256:…`. */
export function formatChange({ repository, reference, digest, status, previous }: ChangedName): string {
  const name = formatReference(repository, reference);
  return `${name} ${status}${reference === digest ? "" : ` ${digest}`}${previous === undefined ? "" : `, was ${previous}`}`;
}

interface ChangedName extends ChangeOutcome {
  readonly repository: string;
  readonly reference: string;
  readonly digest: string;
}

/** Escapes control characters, because names from an archive could steer the terminal. */
export { printableLines as printable } from "../errors.ts";

/** Lays out rows in columns, two spaces apart. No line ends with spaces. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  }
  const lines = rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  "));
  return lines.map((line) => `${line.trimEnd()}\n`).join("");
}
