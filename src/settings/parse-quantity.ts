/** Sizes and durations in settings and options: `10GB`, `64MiB`, `90s`, `1h30m`. */

const unitBytes: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

const unitMs: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * Reads a number of bytes: `67108864`, `64MiB` (powers of 1024) or `10GB` (powers of 1000), in upper or lower case.
 * Undefined for anything else, such as `10G`: programs disagree about its meaning.
 */
export function parseBytes(text: string): number | undefined {
  const [, count = "", unit = ""] = /^(\d+(?:\.\d+)?) ?([a-z]*)$/i.exec(text) ?? [];
  return count === "" ? undefined : wholeNumber(Number(count) * (unitBytes[unit.toLowerCase()] ?? Number.NaN));
}

export const durationPattern = /^(?:\d+(?:\.\d+)? ?[smhd] ?)+$/;

/** Reads a duration in milliseconds: `90s`, `5m`, `2h`, `1d` or `1h30m`. Undefined without a unit. */
export function parseDuration(text: string): number | undefined {
  if (!durationPattern.test(text)) return undefined;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?) ?([smhd])/g)];
  return wholeNumber(parts.reduce((sum, [, count, unit = ""]) => sum + Number(count) * (unitMs[unit] ?? 0), 0));
}

/** Ten years. A time beyond the year 275760 has no date. */
export const maxLifetimeMs = 3650 * 86_400_000;

/** Reads how long an image lives, in milliseconds. */
export function parseLifetime(text: string): number | undefined {
  const ms = parseDuration(text);
  return ms !== undefined && ms >= 1000 && ms <= maxLifetimeMs ? ms : undefined;
}

export const lifetimeForm = "a time such as 90m, 72h or 7d, from 1s to 3650d";

/** Reads a duration in whole seconds, with a unit or without: `90`, `90s`, `5m`. */
export function parseSeconds(text: string): number | undefined {
  if (/^\d+$/.test(text)) return wholeNumber(Number(text));
  const ms = parseDuration(text);
  return ms !== undefined && ms % 1000 === 0 ? ms / 1000 : undefined;
}

/** Rounds down: `1.3KiB` is not a whole number of bytes. */
function wholeNumber(value: number): number | undefined {
  const whole = Math.floor(value);
  return Number.isSafeInteger(whole) ? whole : undefined;
}
