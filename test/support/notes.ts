import type { Report } from "../../src/events.ts";
import { describeEvent, levelOf } from "../../src/http/describe-event.ts";
import { floodGate } from "../../src/http/log.ts";

/** Notes events in the words of the log, except requests that went well. */
export function notesIn(log: () => string[]): Report {
  return floodGate((event) => {
    if (event.event !== "request" || levelOf(event) !== "info") log().push(describeEvent(event));
  });
}
