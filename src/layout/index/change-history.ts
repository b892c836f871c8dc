/**
 * Records when each name of an index was changed last. A name is a tag, or a digest: of an entry without a tag, or of a
 * removed manifest. An entry holds its own last change. The index remembers the last change of names without an entry
 * for up to two hours.
 */
import type { Descriptor } from "../../oci/descriptor.ts";
import { isJsonObject, parseJson } from "../../oci/json.ts";

/** The annotation of an index entry that holds its last change: `<generation> <milliseconds since 1970>`. */
const changedAnnotation = "dev.stowage.at";

/**
 * The last change of a name. A merge compares the generation with the one that the writer of an intent has seen:
 *
 * - The writer has seen this generation or a later one: all writers that changed the name had begun before the intent
 *   was sent. The intent may be merged.
 * - The writer has seen less: a writer that began after the intent was sent may have changed the name. The intent is
 *   stale.
 */
export interface Stamp {
  /**
   * The greatest of these numbers, over all changes of the name: one more than the generation at which the writer of
   * the change began.
   */
  readonly generation: number;
  /** When the last change was merged, in milliseconds since 1970. */
  readonly time: number;
}

export interface ChangeHistory {
  /**
   * Identifies the history; "" for none. A new history begins if the changes of a writer are not known: see
   * `parseHistory`.
   */
  readonly id: string;
  /** By name: the last change of each name without an entry, the oldest first. */
  readonly gone: ReadonlyMap<string, Stamp>;
  /** At least the generation of every stamp that was forgotten. */
  readonly forgotten: number;
}

export const emptyHistory: ChangeHistory = { id: "", gone: new Map(), forgotten: 0 };

/** Longer than an intent may wait, even if clocks are wrong by 15 minutes. */
const goneMs = 2 * 60 * 60_000;
const maxGone = 1000;
/** The length of all names together. A tag has at most 128 bytes, but other tools may have written longer tags. */
const maxGoneBytes = 256 * 1024;

/** The annotation that holds an entry's last change. */
export function stampAnnotation({ generation, time }: Stamp): Readonly<Record<string, string>> {
  return { [changedAnnotation]: `${generation} ${time}` };
}

/**
 * Forgets the oldest names if they are too old or too many. That is safe: `forgotten` then makes older intents stale.
 */
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

/** The places that may hold the last change of a name. */
interface Place {
  readonly entry: Descriptor | undefined;
  readonly gone: Stamp | undefined;
  readonly forgotten: number;
}

/** The generation of a name's last change, or a later one if the change was forgotten. */
export function lastChange({ entry, gone, forgotten }: Place): number {
  const stamps = [entry && stampOf(entry), gone].filter((stamp) => stamp !== undefined);
  return stamps.length === 0 ? forgotten : Math.max(...stamps.map(({ generation }) => generation));
}

/** The last change of an entry. Undefined if another tool, or an older version of Stowage, wrote the entry. */
function stampOf({ annotations }: Descriptor): Stamp | undefined {
  const [, generation, time] = /^(\d{1,15}) (\d{1,15})$/.exec(annotations?.[changedAnnotation] ?? "") ?? [];
  return generation === undefined ? undefined : { generation: Number(generation), time: Number(time) };
}

/** A text that differs after each change of an entry. "" if another tool wrote the entry. */
export function stampTextOf({ annotations }: Descriptor): string {
  return annotations?.[changedAnnotation] ?? "";
}

/** When the name of an entry was changed last, in milliseconds since 1970. */
export function changeTimeOf(entry: Descriptor): number | undefined {
  return stampOf(entry)?.time;
}

/** The generation of an index that does not name its own: the greatest generation of its entries. */
export function latestGeneration(entries: readonly Descriptor[]): number {
  return entries.reduce((latest, entry) => Math.max(latest, stampOf(entry)?.generation ?? 0), 0);
}

export function serializeHistory({ id, gone, forgotten }: ChangeHistory, generation: number): string {
  const stamps = [...gone].map(([name, stamp]) => [name, stamp.generation, stamp.time]);
  return JSON.stringify({ id, generation, forgotten, gone: stamps });
}

/**
 * Reads a history. A history is valid only for the generation with which it was written. Some writers keep no history:
 * they leave the old history beside a later generation. The changes of such a writer are not known, so the old history
 * is ignored.
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
