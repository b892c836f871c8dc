/** Garbage collection on Deno Deploy. */
import process from "node:process";
import { openApp } from "../open-app.ts";
import { triggerGc } from "./trigger-gc.ts";

/** Deno Deploy triggers a slice again after this time, and not while the last one runs. */
const schedule = "*/15 * * * *";
const maxMs = 10 * 60_000;

/** Makes Deno Deploy run gc. Call it before a server listens. Does nothing if the platform has no timer. */
export function scheduleGc(): void {
  // As of November 2026 the API is unstable: `deno run` has it only with `--unstable-cron`.
  if (typeof Deno.cron !== "function") return;
  void Deno.cron("stowage gc", schedule, async () => {
    const write = (line: string): void => void process.stdout.write(`${line}\n`);
    // Not the app that serves: its settings may be wrong, and a trigger can come before they were read.
    const app = await openApp(process.env, { isReachable: true, write });
    await triggerGc(app, { maxMs }, app.report);
  });
}
