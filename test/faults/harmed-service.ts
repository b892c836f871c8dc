/** A service behind a proxy that does harm, images for its clients, and which requests of a client meet the harm. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { randomBytes } from "../support/bytes.ts";
import { type Layout, filesOf, makeLayout } from "../support/layout.ts";
import { newFolder, serveStowage } from "../support/run-stowage.ts";
import { type Fault, faults, stalls, startFaultProxy } from "./fault-proxy.ts";

const runs = Number(process.env["STOWAGE_TEST_RUNS"] ?? 1);
export const timeout = 120_000 + runs * 60_000;

const ofS3 = "answer 400 RequestTimeout";
export const harms: readonly Fault[] = [
  ...faults.filter((fault) => fault !== ofS3),
  ...stalls,
  "flip a bit of the answer",
];

export interface HarmedService {
  readonly store: DirectoryStore;
  /** `127.0.0.1:PORT`, of the proxy. */
  readonly host: string;
  /** Requests that have come to the proxy. */
  readonly requests: () => number;
  /** Does something with one harmed request; `at` is its number among those whose path fits. */
  readonly harm: <T>(fault: Fault, at: number, act: () => Promise<T>, paths?: RegExp) => Promise<T>;
  readonly close: () => void;
}

/** A service that cuts a silent client off before the proxy ends a stalled connection. */
export async function startHarmedService(): Promise<HarmedService> {
  const folder = join(await newFolder(), "store");
  const service = await serveStowage(["--store", `file:${folder}`], { STOWAGE_MAX_IDLE_SECONDS: "1" });
  let choose: (path: string) => Fault | undefined = () => undefined;
  const proxy = await startFaultProxy(Number(new URL(service.url).port), (_, { url = "" }) => choose(url));
  return {
    store: new DirectoryStore(folder),
    host: `127.0.0.1:${proxy.port}`,
    requests: proxy.requests,
    close: () => proxy.close(),
    harm: async (fault, at, act, paths = /./) => {
      let fitting = 0;
      choose = (path) => (paths.test(path) && fitting++ === at ? fault : undefined);
      return act().finally(() => (choose = () => undefined));
    },
  };
}

/** Which of a client's requests meet a fault: one of them in a quick run, all with `STOWAGE_TEST_RUNS=20`. */
export function requestsFor(fault: Fault, count: number): number[] {
  const all = Array.from({ length: count }, (_, at) => at);
  return runs > 1 ? all : all.filter((at) => at === harms.indexOf(fault) % count);
}

/** The same image for the same number. */
export function imageOf(seed: number): Layout {
  return makeLayout({ layers: [randomBytes(300_000, seed), randomBytes(999, seed)], refName: "1", label: `${seed}` });
}

export async function layoutFolder(image: Layout): Promise<string> {
  const folder = await newFolder();
  for (const { name, bytes } of filesOf(image)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), bytes);
  }
  return folder;
}
