/** The log of the service: a line for each event, for programs or for people, and its protection against floods. */
import { printable } from "../errors.ts";
import type { Report, RequestEvent, StowageEvent } from "../events.ts";
import { describeEvent, levelOf } from "./describe-event.ts";

/** `json`: each line is a JSON object. `text`: lines for people. */
export type LogFormat = "json" | "text";

/** Makes a log. `write` gets whole lines, without their ends. */
export function createLog(write: (line: string) => void, format: LogFormat = "json"): Report {
  const lineOf = format === "json" ? jsonLine : textLine;
  return floodGate((event) => write(lineOf(event)));
}

/** A line without control characters, so that no client can begin a line of its own or move a terminal's cursor. */
function jsonLine(event: StowageEvent): string {
  const message = "message" in event ? event.message : describeEvent(event);
  const line = { time: new Date().toISOString(), level: levelOf(event), ...event, message };
  return printable(JSON.stringify(line));
}

function textLine(event: StowageEvent): string {
  const [line = "", ...frames] = describeEvent(event).split("\n");
  const figures = event.event === "request" ? ` (${figuresOf(event)})` : "";
  return [`${new Date().toISOString()} ${line}${figures}`, ...frames].join("\n");
}

/** `350 ms, 12 bytes in, 211 out, 14 store requests, 0b8e…` */
function figuresOf({ ms, bytesIn, bytesOut, storeRequests, id }: RequestEvent): string {
  const asked = storeRequests === undefined ? "" : `${storeRequests} store requests, `;
  return `${ms} ms, ${bytesIn} bytes in, ${bytesOut} out, ${asked}${id}`;
}

/** Events of one kind within a minute. */
const maxLinesPerMinute = 120;
const minuteMs = 60_000;
/** With this many kinds in memory, those that are older than a minute are forgotten. */
const maxKinds = 1000;

interface Minute {
  readonly startedMs: number;
  events: number;
}

/**
 * Passes events on, but not floods of requests that clients can cause without any right. Events above the limit are
 * counted, and their number is passed on later. Each caller has its own kinds, so that a flood of one caller does not
 * hide the requests of another.
 */
export function floodGate(report: Report): Report {
  const minutes = new Map<string, Minute>();
  const end = (kind: string, { events }: Minute): void => {
    const count = events - maxLinesPerMinute;
    if (count > 0) report({ event: "flood", kind, count, isOver: true });
    minutes.delete(kind);
  };
  return (event) => {
    const kind = kindOf(event);
    if (kind === undefined) {
      report(event);
      return;
    }
    const now = performance.now(); // nobody can set this clock
    let minute = minutes.get(kind);
    if (minute === undefined || now - minute.startedMs >= minuteMs) {
      if (minute !== undefined) end(kind, minute);
      else if (minutes.size >= maxKinds) {
        for (const [known, one] of minutes) if (now - one.startedMs >= minuteMs) end(known, one);
      }
      minute = { startedMs: now, events: 0 };
      minutes.set(kind, minute);
    }
    minute.events += 1;
    if (minute.events > maxLinesPerMinute) return;
    report(event);
    if (minute.events === maxLinesPerMinute) report({ event: "flood", kind, count: maxLinesPerMinute, isOver: false });
  };
}

/** Such as `requests of ci were refused`. Undefined for an event that is always passed on. */
function kindOf(event: StowageEvent): string | undefined {
  if (event.event === "unread") return "requests were refused before they were read";
  if (event.event !== "request" || event.outcome === "ok") return undefined;
  return `requests of ${event.caller} were ${words[event.outcome]}`;
}

const words: Readonly<Record<Exclude<RequestEvent["outcome"], "ok">, string>> = {
  asked: "asked for a token",
  failed: "answered with an error of the service",
  refused: "refused",
  gone: "left by their clients",
};
