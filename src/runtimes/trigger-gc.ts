/** Garbage collection that the platform's own timer triggers: each trigger is one slice. */
import { printable } from "../errors.ts";
import { type Report, notice } from "../events.ts";
import { collectSlice, type SliceOptions } from "../gc/collect-slice.ts";
import { type Verdict, describeVerdict } from "../gc/judge-entries.ts";
import type { OpenedApp } from "../open-app.ts";

/**
 * Goes on with a run, or begins one if the last began `STOWAGE_GC_EVERY` ago, and reports what became of blobs. Throws
 * what `collectSlice` throws.
 */
export async function triggerGc(
  { layout, config }: Pick<OpenedApp, "layout" | "config">,
  slice: Pick<SliceOptions, "maxMs" | "maxRequests" | "signal">,
  report: Report,
): Promise<void> {
  const { gcGraceSeconds, gcEverySeconds, retention } = config;
  if (gcEverySeconds === 0) return;
  const [graceMs, everyMs] = [gcGraceSeconds * 1000, gcEverySeconds * 1000];
  const onVerdict = (verdict: Verdict): void => report(notice("info", printable(`gc, ${describeVerdict(verdict)}`)));
  const { state, problems, dropped, ...amounts } = await collectSlice(layout, {
    ...slice,
    graceMs,
    everyMs,
    retention,
    onVerdict,
  });
  if (state !== "idle") report({ event: "gc", state, dropped, amounts, problems });
}
