/**
 * The code that a simulation drives, as it is or with one thing done wrong: the suite that calls the real one right has to
 * find each of these. They are the real code, compiled with a few expressions replaced.
 */
import { type Edit, compileWith } from "../support/compile-with.ts";
import type { Protocol } from "./simulate.ts";

const rescuing = "layout/rescuing-store.ts";
const lookup = "copy/plan-copy.ts";
const sweep = "gc/blob-sweep.ts";
const gc = "gc/collect-garbage.ts";
const saved = "gc/saved-run.ts";
const search = "gc/find-needed.ts";

export const mutants: Readonly<Record<string, readonly Edit[]>> = {
  "loads saw no marks": [{ file: rescuing, replace: "undefined : marked;", by: "undefined : new Set();" }],
  "loads told nobody what they rescue": [
    { file: rescuing, replace: '(await moveMark({ store, clock }, digest, move, signal)) === "moved"', by: "true" },
  ],
  "loads believed that they have rescued what they have not": [
    { file: rescuing, replace: '=== "moved") return', by: '!== "unanswered") return' },
  ],
  "loads did not wait for what is being deleted": [
    { file: rescuing, replace: 'mark.state === "condemned" || clock', by: "true || clock" },
  ],
  "loads asked for a blob before they look at its mark": [
    {
      file: rescuing,
      replace: "await this.#rescue(args[0], args[1]);\n    return super.head(...args);",
      by: "const found = await super.head(...args);\n    await this.#rescue(args[0], args[1]);\n    return found;",
    },
  ],
  "loads that take long looked only once": [{ file: "layout/publish.ts", replace: "!store.isFresh", by: "false" }],
  "the age of a mark were its age after it was found out what is needed": [
    {
      file: gc,
      replace: "new BlobSweep(layout, { ...plan, began })",
      by: "new BlobSweep(layout, { ...plan, began: layout.clock.now() })",
    },
  ],
  "the grace time were ignored": [{ file: sweep, replace: "age < graceMs", by: "false" }],
  "a rescue counted for as much as being condemned": [
    {
      file: sweep,
      replace: 'if (mark.state === "rescued") return this.#condemn',
      by: "if (false) return this.#condemn",
    },
  ],
  "a deletion without an answer were repeated at once": [
    { file: sweep, replace: "age <= staleMs", by: "false" },
    { file: rescuing, replace: "clock.now() - mark.time > staleMs", by: "true" },
  ],
  "a gc that was held up deleted all the same": [
    { file: sweep, replace: "\n    if (clock.now() - began > promptMs) return false;", by: "" },
  ],
  "an orphan were deleted while an index has it": [
    {
      file: sweep,
      replace: "orphanIn === undefined\n        ? this.#deleteBlob(digest, began)",
      by: "true ? this.#deleteBlob(digest, began)",
    },
  ],
};

/** For schedules in which gcs run in slices. */
export const mutantsOfSlices: Readonly<Record<string, readonly Edit[]>> = {
  "a slice took the age of a mark when the slice began": [
    { file: "gc/collect-slice.ts", replace: "return run.progress;", by: "return { ...run.progress, began: now };" },
  ],
  "a slice did not know what the slices before it found needed": [
    { file: saved, replace: "DigestSet.fromBytes(digests.subarray(at))", by: "new DigestSet()" },
  ],
  "a slice did not know which manifests the one before it had still to read": [
    { file: saved, replace: "{ ...search, read, needed }", by: "{ ...search, read, needed, pending: [] }" },
  ],
  "a slice did not know which referrers the slices before it had found": [
    { file: saved, replace: "{ ...search, read, needed }", by: "{ ...search, read, needed, waiting: [] }" },
  ],
  "a repository counted as searched though the slice was over before": [
    { file: search, replace: "    if (walk.hasStopped) return; // it is not known", by: "    // it is not known" },
    { file: search, replace: "    if (walk.hasStopped) return;\n    for", by: "    for" },
  ],
  "blobs were judged though the slice was over before the search": [
    { file: gc, replace: "    if (!isDone) return false;\n", by: "" },
  ],
};

/** For schedules in which gcs drop images. */
export const mutantsOfRetention: Readonly<Record<string, readonly Edit[]>> = {
  "a drop looked at the digest of the entry alone": [
    {
      file: "gc/repository-retention.ts",
      replace: "expects: { digest, stamp: stampTextOf(entry) }",
      by: "expects: { digest }",
    },
  ],
  "a drop looked at nothing": [
    { file: "gc/repository-retention.ts", replace: ", expects: { digest, stamp: stampTextOf(entry) }", by: "" },
  ],
  "an image that was not dropped after all were not visited": [
    { file: search, replace: "await walk.visit(stays);", by: "" },
  ],
};

/** For schedules with copies. */
export const mutantsOfCopies: Readonly<Record<string, readonly Edit[]>> = {
  "copies looked at the marks after they have begun to list the blobs": [
    { file: lookup, replace: "  await rescuing?.hasMarks({ signal });\n", by: "" },
  ],
  "copies trusted a listed blob that has a mark": [
    { file: lookup, replace: "(await rescuing?.isMarked(digest, { signal })) === true", by: "false" },
  ],
  "copies of a second repository counted as fresh": [
    {
      file: rescuing,
      replace: "fork.#listing = this.#listing;",
      by: "fork.#listing = this.#listing && { ...this.#listing, time: Infinity };",
    },
  ],
  "copies by the store did not look at marks": [
    { file: "copy/transfer-blobs.ts", replace: "    await store.rescue(digest, { signal });", by: "" },
  ],
};

/** For schedules with pushes. */
export const mutantsOfPushes: Readonly<Record<string, readonly Edit[]>> = {
  "a pusher that asks for a blob did not rescue the blob": [
    { file: "http/blob-routes.ts", replace: "return isPush ?", by: "return false ?" },
  ],
  "a mount did not rescue the blob": [
    { file: "http/push-routes.ts", replace: "headBlob(RescuingStore.forOneBlob(layout)", by: "headBlob(layout.store" },
  ],
  "a pushed manifest rescued nothing": [
    { file: "push/push-manifest.ts", replace: "checkClosure(rescuing,", by: "checkClosure(layout," },
  ],
  "the end of a session did not look at the mark": [
    {
      file: "push/close-session.ts",
      replace: "storeSegments(session, { offsets, last }, digest, options)",
      by: "storeSegments(session, { offsets, last }, digest, { ...options, store: layout.store })",
    },
  ],
  "a blob that comes in one request did not look at the mark": [
    {
      file: "push/close-session.ts",
      replace: "storeBlob(blob, options)",
      by: "storeBlob(blob, { ...options, store: layout.store })",
    },
  ],
};

const entry = `
  export { StowageError } from "./src/errors.ts";
  export { Layout } from "./src/layout/layout.ts";
  export { RescuingStore } from "./src/layout/rescuing-store.ts";
  export { storeBlob } from "./src/layout/store-blob.ts";
  export { checkClosure } from "./src/layout/check-closure.ts";
  export { publish } from "./src/layout/publish.ts";
  export { updateRepository } from "./src/layout/update-repository.ts";
  export { collectGarbage } from "./src/gc/collect-garbage.ts";
  export { collectSlice } from "./src/gc/collect-slice.ts";
  export { planCopy } from "./src/copy/plan-copy.ts";
  export { copyImages } from "./src/copy/copy-images.ts";
  export { createApp } from "./src/http/app.ts";
`;

/** A copy lists the target if it needs more blobs than this. The images of a simulation have few. */
const fewHeads: Edit = { file: lookup, replace: "const maxHeads = 64;", by: "const maxHeads = 3;" };

/** No digest comes from another thread: nothing in a process then takes real time. */
const digestAtOnce: Edit = {
  file: "digest.ts",
  replace: "await crypto.subtle.digest(algorithms[algorithm].webName, bytes)",
  by: "createHash(algorithm).update(bytes).digest()",
};

/** The order in which a bucket lists the objects of a session is the same for the same seed. */
const dataLast: Edit = {
  file: "push/segments.ts",
  replace: "segmentDataKey(session.id, crypto.randomUUID())",
  by: "segmentDataKey(session.id, `data-${crypto.randomUUID()}`)",
};

/** Compiles the code with these changes. Throws if one of them cannot be made. */
export async function compileProtocol(edits: readonly Edit[] = []): Promise<Protocol> {
  return (await compileWith([...edits, fewHeads, digestAtOnce, dataLast], entry)) as Protocol;
}
