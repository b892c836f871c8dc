/** Registers gc as on Deno Deploy, and does not serve. */
import { scheduleGc } from "../../src/runtimes/deno-cron.ts";

scheduleGc();
