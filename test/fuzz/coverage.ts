/** Which parts of the code an input reaches, as V8 counts them: what tells a fuzzer that an input is worth keeping. */
import { Session } from "node:inspector/promises";

export interface Coverage {
  /** Parts reached since the last call that were reached by no input before, or not as often (by powers of two). */
  newParts(): Promise<number>;
  stop(): void;
}

/** Starts to count in every source file of `src`. */
export async function startCoverage(): Promise<Coverage> {
  const session = new Session();
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  const seen = new Set<string>();
  return {
    async newParts() {
      const before = seen.size;
      const { result } = await session.post("Profiler.takePreciseCoverage");
      for (const { url, scriptId, functions } of result) {
        if (!/\/src\/(?!http\/)/.test(url)) continue;
        for (const { ranges } of functions) {
          for (const { startOffset, endOffset, count } of ranges) {
            seen.add(`${scriptId}:${startOffset}:${endOffset}:${magnitude(count)}`);
          }
        }
      }
      return seen.size - before;
    },
    stop: () => session.disconnect(),
  };
}

/** A loop that runs a thousand times is no news after 900, a hundred times after one is. */
function magnitude(count: number): number {
  return count === 0 ? 0 : Math.min(8, Math.floor(Math.log2(count)) + 1);
}
