/**
 * When each name of an index was changed last. A name is a tag, or a digest that has an entry without a tag or was removed.
 * An entry carries its last change itself. Names without an entry are remembered in the index for a while.
 */
import type { Descriptor } from "../../oci/descriptor.ts";
import { isJsonObject, parseJson } from "../../oci/json.ts";

/** The annotation of an index entry that holds its last change: `<generation> <milliseconds since 1970>`. */
const changedAnnotation = "dev.stowage.at";

/**
 * The last change of a name. An intent whose writer has seen this generation was sent after all writers who have changed the
 * name had begun: none of them began after the writer of the intent was gone. An intent that has seen less is stale.
 */
export interface Stamp {
  /** The generation after the one in which the writer of a change began. Of all changes of the name the greatest. */
  readonly generation: number;
  /** When the last one was merged, in milliseconds since 1970. */
  readonly time: number;
}

export interface ChangeHistory {
  /** Names the history. Another one begins when nobody knows what was changed since: see `parseHistory`. "" for none. */
  readonly id: string;
  /** The last change of names that have no entry, in the order of time. */
  readonly gone: ReadonlyMap<string, Stamp>;
  /** No name without a stamp has had one that was greater. */
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

/** Where the last change of a name is found. */
export interface Place {
  readonly entry: Descriptor | undefined;
  readonly gone: Stamp | undefined;
  readonly forgotten: number;
}

/** The generation of a name's last change, or one that is no earlier. */
export function lastChange({ entry, gone, forgotten }: Place): number {
  const stamps = [entry && stampOf(entry), gone].filter((stamp) => stamp !== undefined);
  return stamps.length === 0 ? forgotten : Math.max(...stamps.map(({ generation }) => generation));
}

/** The last change of an entry. Undefined where another tool, or an older version of Stowage, wrote the entry. */
function stampOf({ annotations }: Descriptor): Stamp | undefined {
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
