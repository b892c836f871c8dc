import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Output } from "../../src/cli/command.ts";
import { startProgress } from "../../src/cli/progress.ts";

const mebibyte = 1024 * 1024;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("startProgress in a log", () => {
  it("writes a line at the start and every ten seconds, also while nothing goes on", () => {
    const { output, written } = makeOutput({});
    const progress = startProgress(output, { title: "Loading app.tar", totalBytes: 100 * mebibyte });
    progress.advance(25 * mebibyte);
    vi.advanceTimersByTime(20_000);
    progress.advance(75 * mebibyte);
    progress.finish();
    progress.stop();
    vi.advanceTimersByTime(60_000);
    expect(written()).toBe(
      "Loading app.tar\n" +
        "  25.0 MiB of 100 MiB (25 %), 2.50 MiB/s, 30.0 s left\n" +
        "  25.0 MiB of 100 MiB (25 %), 1.25 MiB/s, 1 min 00 s left\n",
    );
  });

  it("counts what was done before as done, but not for how fast it goes", () => {
    const { output, written } = makeOutput({});
    const progress = startProgress(output, { title: "Loading app.tar", totalBytes: 100 * mebibyte });
    progress.startFrom(50 * mebibyte);
    progress.advance(30 * mebibyte);
    progress.advance(-10 * mebibyte); // to be done again
    vi.advanceTimersByTime(10_000);
    progress.advance(30 * mebibyte);
    progress.finish();
    vi.advanceTimersByTime(10_000);
    progress.stop();
    expect(written()).toBe(
      "Loading app.tar\n  70.0 MiB of 100 MiB (70 %), 2.00 MiB/s, 15.0 s left\n  100 MiB, finishing\n",
    );
  });

  it("counts anew what has to be done again, and finishes after that", () => {
    const { output, written } = makeOutput({});
    const progress = startProgress(output, { title: "Loading app.tar", totalBytes: 100 * mebibyte });
    progress.advance(100 * mebibyte);
    progress.finish();
    vi.advanceTimersByTime(9000);
    progress.startFrom(70 * mebibyte);
    progress.advance(2 * mebibyte);
    vi.advanceTimersByTime(1000);
    progress.stop();
    expect(written()).toBe("Loading app.tar\n  72.0 MiB of 100 MiB (72 %), 2.00 MiB/s, 14.0 s left\n");
  });

  it("says how much and how fast where the length is not known", () => {
    const { output, written } = makeOutput({});
    const progress = startProgress(output, { title: "Loading standard input" });
    progress.advance(30 * mebibyte);
    vi.advanceTimersByTime(10_000);
    progress.stop();
    expect(written()).toBe("Loading standard input\n  30.0 MiB, 3.00 MiB/s\n");
  });
});

describe("startProgress on a terminal", () => {
  it("draws a bar, makes way for other lines, and takes the bar away", () => {
    const { output, written } = makeOutput({ isTTY: true, columns: 60 });
    const progress = startProgress(output, { title: "Loading app.tar", totalBytes: 100 * mebibyte });
    progress.advance(50 * mebibyte);
    vi.advanceTimersByTime(1000);
    expect(screenOf(written())).toEqual(["[============------------] 50.0 MiB of 100 MiB (50 %), 50.0 "]);
    progress.hideDuring(() => output.write("a problem\n"));
    progress.advance(50 * mebibyte);
    progress.finish();
    vi.advanceTimersByTime(1000);
    expect(screenOf(written())).toEqual(["a problem", "[========================] 100 MiB, finishing"]);
    progress.stop();
    expect(screenOf(written())).toEqual(["a problem", ""]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("leaves nothing switched off in the terminal at any moment, since it may be killed", () => {
    const { output, written } = makeOutput({ isTTY: true, columns: 60 });
    const progress = startProgress(output, { title: "Loading app.tar", totalBytes: 100 });
    expect(written()).not.toMatch(/\[\?\d+l/);
    progress.stop();
  });
});

function makeOutput(options: Pick<Output, "isTTY"> & { columns?: number }): { output: Output; written: () => string } {
  const stream = Object.assign(new PassThrough(), options);
  let text = "";
  stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  return {
    output: stream,
    written: () => {
      text += String(stream.read() ?? "");
      return text;
    },
  };
}

/** The lines that a terminal shows after such output. */
function screenOf(text: string): string[] {
  const lines = [""];
  for (const part of text.split(/(\n|\p{Cc}\[[\d;?]*[A-Za-z]|\p{Cc}[78])/u)) {
    const line = lines.length - 1;
    if (part === "\n") lines.push("");
    else if (part.endsWith("[2K")) lines[line] = "";
    else if (/^[^\p{Cc}]/u.test(part)) lines[line] = part; // each drawing starts at the left and clears the rest
  }
  return lines;
}
