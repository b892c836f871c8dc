/**
 * The commit protocol with one thing left out or done wrong: the suite that calls the real one right has to find each of
 * these. They are the real code, compiled with a few expressions replaced.
 */
import { type Edit, compileWith } from "../support/compile-with.ts";
import type { Protocol } from "./simulate.ts";

/**
 * Remembers two commits instead of 32, so that a handful of writers goes past what is remembered. As right as the original;
 * what is wrong without the memory's bounds shows earlier.
 */
export const shortMemory: Edit = { file: "index-state.ts", replace: "maxCommits = 32", by: "maxCommits = 2" };

/** Merges a few intents in one write instead of 8 MiB. */
export const smallMerges: Edit = {
  file: "merge-intents.ts",
  replace: "maxMergedBytes = 8 * 1024 * 1024",
  by: "maxMergedBytes = 500",
};

/** Sends an intent that gets no answer no second time, so that more of them are nowhere. */
export const singleTry: Edit = { file: "intent.ts", replace: "maxTries = 5", by: "maxTries = 1" };

/** Remembers no removal, so that more is stale: as right as the original. */
export const noRemovals: Edit = { file: "change-history.ts", replace: "maxGone = 1000", by: "maxGone = 0" };

export const mutants: Readonly<Record<string, readonly Edit[]>> = {
  "outcomes are not recorded": [
    {
      file: "merge-intents.ts",
      replace: "of intents.entries()) {\n    applied.set(",
      by: "of [].entries()) {\n    applied.set(",
    },
  ],
  "outcomes are dropped at once": [
    { file: "merge-intents.ts", replace: "new Map(keptOutcomes(state.index, listed))", by: "new Map()" },
  ],
  "the latest commits are not remembered": [
    { file: "commit-alone.ts", replace: "index.commits.includes(id)", by: "false" },
  ],
  "an intent that is gone counts as merged": [
    singleTry,
    {
      file: "combine.ts",
      replace: "import { type Commit, lotOf",
      by: 'import { mergeWithinLimit } from "./merge-index.ts";\nimport { type Commit, lotOf',
    },
    {
      file: "combine.ts",
      replace: "const known = decisionIn(found) ??",
      by: "const isGone = rankOf(id, found) === -1 && round > 0;\n      const known = isGone ? { ...mergeWithinLimit(found.state.index, sets, 0), state: found.state } : decisionIn(found) ??",
    },
  ],
  "every conflict is believed": [
    {
      file: "commit-alone.ts",
      replace: 'if (answer === "written") return { outcomes };',
      by: 'if (answer === "written") return { outcomes };\n    if (answer === "conflict") return { lastSeen: state };',
    },
  ],
  "the index is sent again by the client": [
    shortMemory,
    { file: "index-state.ts", replace: "{ condition, once: true }", by: "{ condition }" },
  ],
  "a write that may land yet counts as lost": [
    { file: "commit-alone.ts", replace: 'return "open"', by: 'return "lost"' },
  ],
  "no answer counts as written": [
    {
      file: "commit-alone.ts",
      replace: 'if (answer === "written") return { outcomes };',
      by: 'if (answer !== "conflict") return { outcomes };',
    },
  ],
  "an intent is merged again by its own writer": [
    {
      file: "merge-intents.ts",
      replace: "const outcomes = applied.get(id);\n  const listed",
      by: 'const outcomes: Look["outcomes"] = undefined;\n  const listed',
    },
    { file: "merge-intents.ts", replace: "!applied.has(intent.id)", by: "intent.id === id || !applied.has(intent.id)" },
  ],
};

/** Those that show where the index comes back to what it was. */
export const mutantsToAndFro: Readonly<Record<string, readonly Edit[]>> = {
  "the generation does not tell how many commits have passed": [
    shortMemory,
    { file: "commit-alone.ts", replace: "passed > 0 && passed <= maxCommits", by: "true" },
  ],
  "two states can have one ETag": [
    { file: "index-state.ts", replace: "generation: state.index.generation + 1", by: "generation: 1" },
    { file: "index-state.ts", replace: "[...state.index.commits, id].slice(-maxCommits)", by: "[]" },
    { file: "commit-alone.ts", replace: 'passed > 0 && passed <= maxCommits ? "lost"', by: 'false ? "lost"' },
    { file: "merge-index.ts", replace: "time: this.#now }", by: "time: 0 }" },
  ],
  "a conflict is believed though an earlier try may have landed": [
    shortMemory,
    { file: "commit-alone.ts", replace: 'if (answer !== "conflict") doubt = answer;', by: "" },
  ],
};

/** An intent does not say which generation its writer has seen. */
const noGenerations: Edit = {
  file: "combine.ts",
  replace: "seen: seenOf(lastSeen.index)",
  by: "seen: { ...seenOf(lastSeen.index), generation: 1e9 }",
};

const judged = "return isStale(set, seen) ? stale : undefined;";

/** What a dead writer has left is merged over something newer. They show where writers die and others come later. */
export const mutantsOfTheDead: Readonly<Record<string, readonly Edit[]>> = {
  "an intent does not say which generation its writer has seen": [noGenerations],
  "an older intent counts as done": [
    {
      file: "merge-intents.ts",
      replace: judged,
      by: "return isStale(set, seen) ? mergeWithinLimit(merge.state.index, [set], 0).outcomes[0] : undefined;",
    },
  ],
  "an older intent without a condition is merged": [
    {
      file: "merge-intents.ts",
      replace: judged,
      by: 'return isStale(set, seen) && set.changes.some((it) => "expects" in it) ? stale : undefined;',
    },
  ],
  "an older intent is merged if its condition holds again": [
    {
      file: "merge-intents.ts",
      replace: judged,
      by: `const holds = "changes" in (mergeWithinLimit(merge.state.index, [set], 0).outcomes[0] ?? {});
  return isStale(set, seen) && !(holds && set.changes.some((it) => "expects" in it)) ? stale : undefined;`,
    },
  ],
  "a tag that is created has no generation": [
    {
      file: "merge-index.ts",
      replace: "entryOf(change, this.#stampOf(name))",
      by: "entryOf(change, before ? this.#stampOf(name) : { generation: 0, time: 0 })",
    },
  ],
  "a removal is not remembered": [
    { file: "merge-index.ts", replace: "    this.#gone.set(name, stamp); // moved to the end: the latest", by: "" },
  ],
  "a removal that is forgotten makes nothing stale": [
    noRemovals,
    { file: "change-history.ts", replace: "forgotten = Math.max(forgotten, generation);", by: "" },
  ],
  "intents that are there do not make a later one younger": [
    {
      file: "combine.ts",
      replace: "commits: lastSeen.index.commits, intents: earlier }",
      by: "commits: [], intents: [] }",
    },
  ],
};

/**
 * Generations keep most of what is old from being merged a second time, but not what was told to have expired. These show what
 * the other precautions are good for by themselves. Without generations a dead writer may undo what is newer.
 */
export const withoutGenerations: readonly Edit[] = [noGenerations];
export const mutantsWithoutGenerations: Readonly<Record<string, readonly Edit[]>> = {
  "intents are listed before the index is read": [
    smallMerges,
    {
      file: "merge-intents.ts",
      replace: "const state = lastSeen ?? (await readIndex(store, repository, memory));\n  const { applied }",
      by: "const early = await listIntents(commit);\n  const state = await readIndex(store, repository, memory);\n  const { applied }",
    },
    { file: "merge-intents.ts", replace: "? await listIntents(commit) : []", by: "? early : []" },
  ],
};

/** Those that only clocks that differ bring to light, or such a crowd soonest. */
export const mutantsWithoutGenerationsOutOfStep: Readonly<Record<string, readonly Edit[]>> = {
  "an intent that was sent again is deleted": [
    { file: "combine.ts", replace: "if (timesSent === 1) await deleteIntent", by: "await deleteIntent" },
  ],
  "an intent that was sent again is deleted before it is too old to be merged": [
    { file: "intent.ts", replace: "abandonedMs = 60 * 60_000", by: "abandonedMs = 20_000" },
  ],
};

const entry = `
  export { commitChanges } from "./src/layout/index/commit-changes.ts";
  export { StowageError } from "./src/errors.ts";
`;

/** Compiles the protocol with these changes. Throws if one of them cannot be made. */
export async function compileProtocol(edits: readonly Edit[]): Promise<Protocol> {
  const inSrc = edits.map(({ file, ...change }) => ({ file: `layout/index/${file}`, ...change }));
  return (await compileWith(inSrc, entry)) as Protocol;
}
