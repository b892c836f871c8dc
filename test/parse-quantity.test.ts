import { describe, expect, it } from "vitest";
import { parseBytes, parseDuration, parseSeconds } from "../src/settings/parse-quantity.ts";

describe("parseBytes", () => {
  it.each([
    ["0", 0],
    ["67108864", 67_108_864],
    ["512B", 512],
    ["64MiB", 64 * 2 ** 20],
    ["64 mib", 64 * 2 ** 20],
    ["10GB", 10e9],
    ["10gb", 10e9],
    ["1.5KB", 1500],
    ["1.5GiB", 1.5 * 2 ** 30],
    ["1TiB", 2 ** 40],
  ])("reads %s", (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes);
  });

  it.each(["", "-1", "10G", "GB", "1e3", "1,5MB", "10 XB", "1 2", "NaN", "constructor", "9007199254740993TB"])(
    "does not guess what %j means",
    (text) => {
      expect(parseBytes(text)).toBeUndefined();
    },
  );
});

describe("parseDuration", () => {
  it.each([
    ["90s", 90_000],
    ["5m", 300_000],
    ["2h", 7_200_000],
    ["1d", 86_400_000],
    ["1h30m", 5_400_000],
    ["1.5h", 5_400_000],
    ["0.25s", 250],
  ])("reads %s", (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  it.each(["", "90", "5 minutes", "h", "-1h", "1w", "1h-30m"])("does not guess what %j means", (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });
});

describe("parseSeconds", () => {
  it.each([
    ["90", 90],
    ["90s", 90],
    ["5m", 300],
    ["0.5m", 30],
    ["0.5s", undefined],
    ["", undefined],
  ])("reads %j as %j", (text, seconds) => {
    expect(parseSeconds(text)).toBe(seconds);
  });
});
