/** Garbage collection that the platform's own timer triggers: each trigger is one slice. */
import { collectSlice, type SliceOptions } from "../gc/collect-slice.ts";
import { printable } from "../errors.ts";
import { type Verdict, describeVerdict } from "../gc/judge-entries.ts";
import { summarizeGarbage } from "../gc/tally.ts";
import type { Log } from "../http/log.ts";
import type { OpenedApp } from "../open-app.ts";

/**
 * Goes on with a run, or begins one if the last began `STOWAGE_GC_EVERY` ago, and logs what became of blobs. Throws what
 * `collectSlice` throws.
 */
export async function triggerGc(
  { layout, config }: Pick<OpenedApp, "layout" | "config">,
  slice: Pick<SliceOptions, "maxMs" | "maxRequests" | "signal">,
  log: Log,
): Promise<void> {
  const { gcGraceSeconds, gcEverySeconds, retention } = config;
  if (gcEverySeconds === 0) return;
  const [graceMs, everyMs] = [gcGraceSeconds * 1000, gcEverySeconds * 1000];
  const onVerdict = (verdict: Verdict): void => log(printable(`gc, ${describeVerdict(verdict)}`));
  const { state, ...report } = await collectSlice(layout, { ...slice, graceMs, everyMs, retention, onVerdict });
  if (state !== "idle") log(`gc, ${state}: ${summarizeGarbage(report)}`);
}
