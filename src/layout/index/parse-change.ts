/** Reads changes and their outcomes from the JSON that another writer left in the store. */
import { type Digest, digestForm, isDigest } from "../../digest.ts";
import type {
  Change,
  ChangeOutcome,
  ChangeSet,
  ChangeSetOutcome,
  Expectation,
  Refusal,
  SetChange,
} from "../../oci/index-change.ts";
import { type JsonObject, describeJson, isJsonObject } from "../../oci/json.ts";

/** Reads sets of changes. Throws an `Error` that says what is wrong. */
export function parseChangeSets(value: unknown): ChangeSet[] {
  return listOf(value, "sets of changes").map((set) => {
    const { changes, immutableTags, began } = objectOf(set, "a set of changes");
    return {
      changes: listOf(changes, "changes").map(parseChange),
      ...(immutableTags !== undefined && { immutableTags: listOf(immutableTags, "patterns").map(textOf) }),
      ...(began !== undefined && { began: numberOf(began) }),
    };
  });
}

/** Reads the outcomes of sets of changes. Throws an `Error` that says what is wrong. */
export function parseOutcomes(value: unknown): ChangeSetOutcome[] {
  return listOf(value, "outcomes").map((outcome) => {
    const { changes, refused, failed, stale } = objectOf(outcome, "an outcome");
    if (failed === "expired" && stale === true) return { failed, stale };
    if (failed === "full" || failed === "expired") return { failed };
    if (refused !== undefined) return { refused: parseRefusal(objectOf(refused, "a refusal")) };
    return { changes: listOf(changes, "outcomes of changes").map(parseChangeOutcome) };
  });
}

/** What a writer has seen of an index: all of its changes up to a generation. */
export interface Seen {
  readonly history: string;
  readonly generation: number;
}

/** Reads what a writer has seen. Throws an `Error` that says what is wrong. */
export function parseSeen(value: unknown): Seen {
  const { history, generation } = objectOf(value, "what its writer has seen");
  return { history: textOf(history), generation: numberOf(generation) };
}

function parseChange(value: unknown): Change {
  const change = objectOf(value, "a change");
  const { op, tag, digest, expects } = change;
  const expectation = expects === undefined ? {} : { expects: parseExpectation(expects) };
  if (op === "set") return { ...parseSet(change), ...expectation };
  if (op !== "remove") throw new Error(`found the change ${describeJson(op)}, expected set or remove`);
  return tag === undefined ? { op, digest: digestIn(digest) } : { op, tag: textOf(tag), ...expectation };
}

function parseSet({ tag, mediaType, digest, size, artifactType, subject, expires }: JsonObject): SetChange {
  return {
    op: "set",
    ...(tag !== undefined && { tag: textOf(tag) }),
    mediaType: textOf(mediaType),
    digest: digestIn(digest),
    size: numberOf(size),
    ...(artifactType !== undefined && { artifactType: textOf(artifactType) }),
    ...(subject !== undefined && { subject: digestIn(subject) }),
    ...(expires !== undefined && { expires: textOf(expires) }),
  };
}

function parseExpectation(value: unknown): Expectation {
  if (value === "absent") return value;
  const { digest, stamp } = objectOf(value, "an expectation");
  return { digest: digestIn(digest), ...(stamp !== undefined && { stamp: textOf(stamp) }) };
}

function parseChangeOutcome(value: unknown): ChangeOutcome {
  const { status, previous } = objectOf(value, "the outcome of a change");
  if (status !== "created" && status !== "updated" && status !== "unchanged" && status !== "removed") {
    throw new Error(`found the status ${describeJson(status)}`);
  }
  return { status, ...(previous !== undefined && { previous: digestIn(previous) }) };
}

function parseRefusal({ reason, reference, found }: JsonObject): Refusal {
  if (reason !== "immutable" && reason !== "unexpected") throw new Error(`found the reason ${describeJson(reason)}`);
  return { reason, reference: textOf(reference), ...(found !== undefined && { found: digestIn(found) }) };
}

function listOf(value: unknown, what: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new Error(`found ${describeJson(value)}, expected a list of ${what}`);
}

function objectOf(value: unknown, what: string): JsonObject {
  if (isJsonObject(value)) return value;
  throw new Error(`found ${describeJson(value)}, expected ${what}`);
}

function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  throw new Error(`found ${describeJson(value)}, expected a string`);
}

function digestIn(value: unknown): Digest {
  if (isDigest(value)) return value;
  throw new Error(`found ${describeJson(value)}, expected ${digestForm}`);
}

function numberOf(value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new Error(`found ${describeJson(value)}, expected a whole number`);
}
