/** Starts the real service, built, as a user does by `stowage serve`. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { buildStowage } from "../support/build.ts";
import { startService } from "./start-service.ts";

export interface RunningStowage {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** What it has printed. */
  readonly output: () => string;
  readonly stop: () => Promise<void>;
}

/** Starts a Stowage on a free port of 127.0.0.1 that keeps its images in a new folder. */
export async function startStowage(): Promise<RunningStowage> {
  const program = await buildStowage();
  const folder = await mkdtemp(join(tmpdir(), "stowage-served-"));
  const { answer, ...service } = await startService({
    folder,
    command: [process.execPath, program, "serve"],
    env: { STOWAGE_STORE: `file:${folder}/data`, HOST: "127.0.0.1", PORT: "0" },
    ready: (printed) => /http:\/\/127\.0\.0\.1:\d+/.exec(printed)?.[0],
  });
  return { url: answer, ...service };
}
