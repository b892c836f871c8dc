/** What a schedule begins with: writers, what they are going to do and when, and the decisions that chance will take. */
import * as fc from "fast-check";
import type { Digest } from "../../src/digest.ts";
import type { Change, ChangeSet } from "../../src/oci/index-change.ts";

/** What one writer does, one thing after the other. */
export interface WriterPlan {
  readonly repository: string;
  readonly startsAtMs: number;
  /** By how much its clock is wrong. */
  readonly skewMs: number;
  /** Sets of changes that go in together, or undefined for a look at the index. */
  readonly steps: readonly (readonly ChangeSet[] | undefined)[];
}

export interface Scenario {
  readonly writers: readonly WriterPlan[];
  readonly choices: Uint8Array;
  /** See `chooseCourse`. */
  readonly calm: number;
  readonly isDeadly?: boolean;
}

const mediaType = "application/vnd.oci.image.manifest.v1+json";

/** A digest of nothing: nobody looks at the blobs of a simulation. */
export function numberedDigest(number: number): Digest {
  return `sha256:${number.toString(16).padStart(64, "0")}`;
}

export function setTag(tag: string | undefined, digest: Digest): Change {
  return { op: "set", ...(tag !== undefined && { tag }), mediaType, digest, size: 1 };
}

const tag = fc.constantFrom("1", "2", "latest");
/** Few, so that what others set is met again. */
const sharedDigest = fc.integer({ min: 1, max: 3 }).map(numberedDigest);
/** So many that each is met once: a change that is made twice then shows. */
const ownDigest = fc.integer({ min: 100, max: 2 ** 30 }).map(numberedDigest);
const digest = fc.oneof({ weight: 2, arbitrary: ownDigest }, { weight: 1, arbitrary: sharedDigest });
const expects = fc.oneof(
  fc.constant("absent" as const),
  sharedDigest.map((it) => ({ digest: it })),
);

const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(tag, digest).map(([name, it]) => setTag(name, it)) },
  {
    weight: 2,
    arbitrary: fc.tuple(tag, digest, expects).map(([name, it, e]) => ({ ...setTag(name, it), expects: e })),
  },
  { weight: 1, arbitrary: digest.map((it) => setTag(undefined, it)) },
  { weight: 2, arbitrary: tag.map((name): Change => ({ op: "remove", tag: name })) },
  {
    weight: 1,
    arbitrary: fc.tuple(tag, expects).map(([name, e]): Change => ({ op: "remove", tag: name, expects: e })),
  },
  { weight: 1, arbitrary: sharedDigest.map((it): Change => ({ op: "remove", digest: it })) },
);

const changeSet: fc.Arbitrary<ChangeSet> = fc.record(
  { changes: fc.array(change, { minLength: 1, maxLength: 2 }), immutableTags: fc.constant(["2"]) },
  { requiredKeys: ["changes"] },
);

/** So little that the index comes back to what it was. */
const toAndFro: fc.Arbitrary<ChangeSet> = fc
  .constantFrom<Change>(setTag("1", numberedDigest(1)), setTag("1", numberedDigest(1)), { op: "remove", tag: "1" })
  .map((it) => ({ changes: [it] }));

const skewMs = fc.constantFrom(0, 0, 0, 0, 3000, -3000, 80_000, -80_000, 800_000, -800_000);

/** Writers who do this and that, in two repositories. */
const various: fc.Arbitrary<WriterPlan> = fc.record({
  repository: fc.constantFrom("images", "images", "images", "team/app"),
  startsAtMs: fc.nat(40),
  skewMs,
  steps: stepsOf(fc.array(changeSet, { minLength: 1, maxLength: 2 })),
});

/** Writers who undo what others do, now and a while later. */
const undoing: fc.Arbitrary<WriterPlan> = fc.record({
  repository: fc.constant("images"),
  startsAtMs: fc.oneof(fc.nat(40), fc.nat(2000)),
  skewMs,
  steps: stepsOf(toAndFro.map((set) => [set])),
});

/** Writers who all want one thing, at once. */
const crowded: fc.Arbitrary<WriterPlan> = fc.record({
  repository: fc.constant("images"),
  startsAtMs: fc.nat(60),
  skewMs: fc.constant(0),
  steps: fc.tuple(fc.tuple(ownDigest.map((it): ChangeSet => ({ changes: [setTag("1", it)] })))),
});

export const arbitraryScenario: fc.Arbitrary<Scenario> = fc.record({
  writers: fc.oneof(
    { weight: 3, arbitrary: fc.array(various, { minLength: 2, maxLength: 5, size: "max" }) },
    { weight: 1, arbitrary: fc.array(undoing, { minLength: 2, maxLength: 4, size: "max" }) },
    { weight: 1, arbitrary: fc.array(crowded, { minLength: 4, maxLength: 9, size: "max" }) },
  ),
  choices: fc.uint8Array({ maxLength: 800, size: "max" }),
  calm: fc.constantFrom(255, 250, 240, 220),
});

/** Only writers who undo what others do: the index comes back to what it was again and again. */
export const scenarioToAndFro: fc.Arbitrary<Scenario> = fc.record({
  writers: fc.array(undoing, { minLength: 3, maxLength: 5, size: "max" }),
  choices: fc.uint8Array({ maxLength: 800, size: "max" }),
  calm: fc.constantFrom(240, 220),
});

/** Writers who race for a while, some of them with clocks that are fast: what is old to one is new to another. */
const outOfStep: fc.Arbitrary<WriterPlan> = fc.record({
  repository: fc.constant("images"),
  startsAtMs: fc.nat(1500),
  skewMs: fc.constantFrom(0, 0, 30_000),
  steps: stepsOf(fc.tuple(tag, ownDigest).map(([name, it]) => [{ changes: [setTag(name, it)] }])),
});

/** Many of them, on a store that fails often: it takes that much until something old is deleted and comes back. */
export const scenarioOutOfStep: fc.Arbitrary<Scenario> = fc.record({
  writers: fc.array(outOfStep, { minLength: 5, maxLength: 10, size: "max" }),
  choices: fc.uint8Array({ maxLength: 1500, size: "max" }),
  calm: fc.constantFrom(240, 220, 200),
});

/** What one writer undoes of another: few names, and conditions that come to hold again. */
const contested: fc.Arbitrary<Change> = fc.oneof(
  { weight: 3, arbitrary: ownDigest.map((it) => setTag("1", it)) },
  { weight: 2, arbitrary: fc.tuple(sharedDigest, expects).map(([it, e]) => ({ ...setTag("1", it), expects: e })) },
  { weight: 2, arbitrary: sharedDigest.map((it) => setTag("1", it)) },
  { weight: 2, arbitrary: fc.constant<Change>({ op: "remove", tag: "1" }) },
  { weight: 1, arbitrary: sharedDigest.map((it): Change => ({ op: "remove", digest: it })) },
);

function mortals(startsAtMs: fc.Arbitrary<number>): fc.Arbitrary<WriterPlan> {
  return fc.record({
    repository: fc.constant("images"),
    startsAtMs,
    skewMs: fc.constantFrom(0, 0, 30_000),
    steps: fc.array(
      contested.map((it) => [{ changes: [it] }]),
      { minLength: 1, maxLength: 2 },
    ),
  });
}

const first = mortals(fc.nat(40));
const later = mortals(fc.tuple(fc.constantFrom(2000, 4000, 4000), fc.nat(40)).map(([at, ms]) => at + ms));

/** Some die while they race; seconds later others come, and race over what those have left. */
export const scenarioOfTheDead: fc.Arbitrary<Scenario> = fc.record({
  writers: fc
    .tuple(fc.array(first, { minLength: 2, maxLength: 4 }), fc.array(later, { minLength: 3, maxLength: 5 }))
    .map((both) => both.flat()),
  choices: fc.uint8Array({ maxLength: 500, size: "max" }),
  calm: fc.constantFrom(230, 200),
  isDeadly: fc.constant(true),
});

function stepsOf(sets: fc.Arbitrary<readonly ChangeSet[]>): fc.Arbitrary<WriterPlan["steps"]> {
  return fc.array(fc.option(sets, { freq: 6, nil: undefined }), { minLength: 1, maxLength: 3 });
}
