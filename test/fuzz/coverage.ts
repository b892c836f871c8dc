/** Which parts of the code an input reaches, as V8 counts them: what tells a fuzzer that an input is worth keeping. */
import { Session } from "node:inspector/promises";

/** `src`, without what the tests use only to pull again what was loaded. */
const covered = /\/src\/(?!http\/|pull\/)/;

export interface Coverage {
  /** Was anything reached since the last call that had not been before? `remember` it, or look at it again later. */
  hasNews(options: { readonly remember: boolean }): Promise<boolean>;
  stop(): void;
}

/** Starts to look. */
export async function startCoverage(): Promise<Coverage> {
  const session = new Session();
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  const seen = new Set<string>();
  return {
    async hasNews({ remember }) {
      const { result } = await session.post("Profiler.takePreciseCoverage");
      const reached = result
        .filter(({ url }) => covered.test(url))
        .flatMap(({ scriptId, functions }) =>
          functions.flatMap(({ ranges }) => ranges.map((range) => ({ scriptId, ...range }))),
        )
        .filter(({ count }) => count > 0)
        .map(({ scriptId, startOffset, endOffset }) => `${scriptId}:${startOffset}:${endOffset}`);
      const news = reached.filter((part) => !seen.has(part));
      if (remember) for (const part of news) seen.add(part);
      return news.length > 0;
    },
    stop: () => session.disconnect(),
  };
}
