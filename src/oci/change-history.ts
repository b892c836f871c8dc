/**
 * When each name of an index was changed last. A name is a tag, or a digest that has an entry without a tag or was removed.
 * An entry carries its last change itself. Names without an entry are remembered in the index for a while.
 */
import type { Descriptor } from "./descriptor.ts";
import { isJsonObject, parseJson } from "./json.ts";

/** The annotation of an index entry that holds its last change: `<generation> <milliseconds since 1970>`. */
const changedAnnotation = "dev.stowage.at";

/** A change: the generation of the index that has it first, and when that was merged, in milliseconds since 1970. */
export interface Stamp {
  readonly generation: number;
  readonly time: number;
}

export interface ChangeHistory {
  /** Names the history. Another one begins when nobody knows what was changed since: see `parseHistory`. "" for none. */
  readonly id: string;
  /** The last change of names that have no entry, in the order of time. */
  readonly gone: ReadonlyMap<string, Stamp>;
  /** A name without a stamp was changed in this generation or before. */
  readonly forgotten: number;
}

export const emptyHistory: ChangeHistory = { id: "", gone: new Map(), forgotten: 0 };

/** Longer than an intent may wait, by clocks that are wrong by a quarter of an hour. */
const goneMs = 2 * 60 * 60_000;
const maxGone = 1000;
/** Of the names alone. Tags have 128 bytes at most, but other tools may have written longer ones. */
const maxGoneBytes = 256 * 1024;

/** The annotation that tells of an entry's last change. */
export function stampAnnotation({ generation, time }: Stamp): Readonly<Record<string, string>> {
  return { [changedAnnotation]: `${generation} ${time}` };
}

/** Forgets what is too old or too much. Nothing goes wrong by that: `forgotten` then makes older intents stale. */
export function forgetGone(history: ChangeHistory, now: number): ChangeHistory {
  const gone = new Map(history.gone);
  let { forgotten } = history;
  let bytes = [...gone.keys()].reduce((sum, name) => sum + name.length, 0);
  for (const [name, { generation, time }] of history.gone) {
    if (gone.size <= maxGone && bytes <= maxGoneBytes && time + goneMs >= now) break;
    gone.delete(name);
    bytes -= name.length;
    forgotten = Math.max(forgotten, generation);
  }
  return { ...history, gone, forgotten };
}

/** The last change of an entry. Undefined where another tool, or an older version of Stowage, wrote the entry. */
export function stampOf({ annotations }: Descriptor): Stamp | undefined {
  const [, generation, time] = /^(\d{1,15}) (\d{1,15})$/.exec(annotations?.[changedAnnotation] ?? "") ?? [];
  return generation === undefined ? undefined : { generation: Number(generation), time: Number(time) };
}

/** The generation of an index that does not say it: at least that of each of its entries. */
export function latestGeneration(entries: readonly Descriptor[]): number {
  return entries.reduce((latest, entry) => Math.max(latest, stampOf(entry)?.generation ?? 0), 0);
}

export function serializeHistory({ id, gone, forgotten }: ChangeHistory, generation: number): string {
  const stamps = [...gone].map(([name, stamp]) => [name, stamp.generation, stamp.time]);
  return JSON.stringify({ id, generation, forgotten, gone: stamps });
}

/**
 * Reads a history. It holds for the generation that it was written with. A writer that keeps no history leaves the former one
 * beside a later generation: what it has changed nobody knows then, and so none of it is believed.
 */
export function parseHistory(value: unknown, generation: number): ChangeHistory {
  const unknown = { ...emptyHistory, forgotten: generation };
  if (typeof value !== "string") return unknown;
  try {
    const json = parseJson(new TextEncoder().encode(value));
    if (!isJsonObject(json) || json["generation"] !== generation) return unknown;
    const { id, gone, forgotten } = json;
    if (typeof id !== "string" || typeof forgotten !== "number" || !Array.isArray(gone)) return unknown;
    return { id, gone: new Map(gone.map(parseGone)), forgotten };
  } catch {
    return unknown;
  }
}

function parseGone(value: unknown): [string, Stamp] {
  const parts: readonly unknown[] = Array.isArray(value) ? value : [];
  const [name, generation, time] = parts;
  if (typeof name === "string" && typeof generation === "number" && typeof time === "number") {
    return [name, { generation, time }];
  }
  throw new Error("expected a name, a generation and a time");
}
