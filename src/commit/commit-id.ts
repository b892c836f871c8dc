/**
 * Names of commits and intents: `<milliseconds since 1970>-<random>`, both in hexadecimal and of one length, so that they
 * sort by age. Age decides who goes first, and when an intent that was left may be deleted; that is safe as long as clocks are
 * right within a quarter of an hour.
 */
import type { Clock } from "../clock.ts";

const timeDigits = 12;

export function newCommitId(clock: Clock): string {
  const random = Array.from({ length: 3 }, () => hex(Math.floor(clock.random() * 2 ** 32), 8)).join("");
  return `${hex(clock.now(), timeDigits)}-${random}`;
}

export function isCommitId(text: string): boolean {
  return /^[0-9a-f]{12}-[0-9a-f]{24}$/.test(text);
}

/** When the id was made, in milliseconds since 1970. */
export function timeOfCommit(id: string): number {
  return Number.parseInt(id.slice(0, timeDigits), 16);
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}
