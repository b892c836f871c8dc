/** Says events in plain words: for the log that people read, and as the `message` in the log that programs read. */
import { printable, quote } from "../errors.ts";
import type { CopyEvent, GcEvent, Level, LoadEvent, RequestEvent, StowageEvent, UnreadEvent } from "../events.ts";
import { formatReference } from "../oci/reference.ts";

/** Characters of a line. An unforeseen error has lines with its stack too. */
const maxLineLength = 1000;
const maxStackLength = 4000;

export function levelOf(event: StowageEvent): Level {
  if ("level" in event) return event.level;
  if (event.event === "request") return levels[event.outcome];
  if (event.event === "copy") return event.targets.some(({ failures }) => failures.length > 0) ? "warn" : "info";
  return event.event === "unread" || event.event === "flood" ? "warn" : "info";
}

const levels: Readonly<Record<RequestEvent["outcome"], Level>> = {
  ok: "info",
  asked: "info",
  refused: "warn",
  gone: "warn",
  failed: "error",
};

/** One line, without control characters. Only an unforeseen error has more lines. */
export function describeEvent(event: StowageEvent): string {
  switch (event.event) {
    case "request":
      return describeRequest(event);
    case "load":
      return describeLoad(event);
    case "push": {
      const by = event.reference === event.digest ? "" : ` (${event.digest})`;
      return `${event.caller} pushed ${formatReference(event.repository, event.reference)}${by}`;
    }
    case "delete":
      return `${event.caller} deleted ${formatReference(event.repository, event.reference)} (${event.digest})`;
    case "copy":
      return describeCopy(event);
    case "gc":
      return `gc, ${event.state}: ${describeAmounts(event)}`;
    case "unread":
      return describeUnread(event);
    case "flood":
      return event.isOver
        ? `${event.count} more ${event.kind} since then`
        : `${event.count} ${event.kind} within a minute: more are counted, not shown`;
    case "start":
      return `Stowage listens on ${event.url}, images are kept in ${event.store}; ${event.access}`;
    case "warning":
      return `Warning: ${event.message}`;
    case "notice":
  }
  return event.message;
}

/** `ci PUT /v1/load/team/app 403 DENIED: Cannot load into "team/app": …` */
function describeRequest({ caller, method, path, status, outcome, code, message, stack }: RequestEvent): string {
  const request = `${caller} ${method} ${path} ${status}`;
  if (outcome === "gone") return `${request}: the client went away`;
  if (message === undefined) return request;
  if (stack === undefined) return cut(`${request} ${code}: ${message}`.replaceAll("\n", " "), maxLineLength);
  return cut([`${request}: ${message}`, ...stack].map(printable).join("\n"), maxStackLength);
}

/** `ci loaded team/app:1.4 created (12 bytes written, 0 present, 0 repaired)` */
function describeLoad({ caller, key, images, imageCount, bytes }: LoadEvent): string {
  const by = key === undefined ? caller : `${quote(key)}:`;
  const names = images.map(
    ({ repository, reference, status }) => `${formatReference(repository, reference)} ${status}`,
  );
  const more = imageCount > names.length ? ` and ${imageCount - names.length} more` : "";
  const counts = `${bytes.written} bytes written, ${bytes.present} present, ${bytes.repaired} repaired`;
  return `${by} loaded ${names.join(", ")}${more} (${counts})`;
}

function describeCopy({ caller, targets }: CopyEvent): string {
  const parts = targets.map(({ target, images, bytes, failures }) => {
    const moved = bytes === undefined ? "" : `, ${bytes} bytes`;
    return `${target}: ${images} images${moved}${failures.length === 0 ? "" : `, ${failures.length} failed`}`;
  });
  return `${caller === undefined ? "" : `${caller} `}copied to ${parts.join("; ")}`;
}

function describeUnread({ status, code, message }: UnreadEvent): string {
  return status === undefined ? message : `refused a request before it was read, ${status}: ${code}: ${message}`;
}

/** What became of how many images and blobs: `condemned 3 blobs (12 bytes)`. */
function describeAmounts({ dropped, amounts, problems }: GcEvent): string {
  const parts = Object.entries(amounts).flatMap(([what, { blobs, bytes }]) =>
    blobs === 0 ? [] : [`${what} ${blobs} ${blobs === 1 ? "blob" : "blobs"} (${bytes} bytes)`],
  );
  if (dropped > 0) parts.unshift(`dropped ${dropped} ${dropped === 1 ? "image" : "images"}`);
  return [...parts, ...problems].join(", ") || "nothing to do";
}

function cut(text: string, maxLength: number): string {
  return text.length <= maxLength ? text : `${text.slice(0, maxLength)}…`;
}
