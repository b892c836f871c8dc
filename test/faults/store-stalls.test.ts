/** A store that takes requests and does not answer them, from some moment of a load, push or deletion on. */
import { afterEach, beforeEach, expect, it } from "vitest";
import { seededRandom } from "../commit/scheduler.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { withService } from "../support/serve-app.ts";
import { type StoreBench, openStoreBench } from "./harmed-store.ts";
import { Ledger } from "./ledger.ts";
import { Traffic } from "./traffic.ts";

/** A request waits this long for an answer, instead of 10 s or 30 s. */
const answerMs = 1000;

await describeS3Servers(
  "Stowage, whose store falls silent,",
  (server) => {
    let bench: StoreBench;
    beforeEach(async () => {
      bench = await openStoreBench(server, answerMs);
    });
    afterEach(() => bench.proxy.close());

    it.each(["load", "push", "delete"] as const)(
      "answers 503 to a %s, loses nothing, and ends well when it is asked again",
      { timeout: 180_000 },
      async (action) => {
        const ledger = new Ledger();
        await withService(bench.harmed, async (url) => {
          const copy = async (): Promise<boolean> => false;
          const traffic = new Traffic({ ledger, copied: ledger, random: seededRandom(1), copy, url: () => url });
          const act = async (name: string): Promise<number> => {
            if (action === "delete") await traffic.act("load", name);
            const before = bench.proxy.requests();
            await traffic.act(action, name);
            return bench.proxy.requests() - before;
          };
          await act("team/first:1");
          const requests = await act("team/unharmed:1");
          for (const at of [0, Math.floor(requests / 2), requests - 1]) {
            const name = `team/app:silent-${at}`;
            if (action === "delete") await traffic.act("load", name);
            const first = bench.proxy.requests();
            bench.choose = (number) => (number >= first + at ? "stall before the request" : undefined);
            await traffic.act(action, name);
            bench.choose = () => undefined;
            expect(await traffic.tryAgain(), `tried again, silent from request ${at} on`).toEqual([]);
          }
          // A push begins with a HEAD, whose answer has no code.
          const refused = new RegExp(`^${action}: 503 ${action === "push" ? "" : "STORE_UNAVAILABLE"}`);
          expect([...traffic.counts.keys()].filter((outcome) => refused.test(outcome))).not.toEqual([]);
        });
        await ledger.check(bench.store, action);
      },
    );
  },
  ["versitygw"],
);
