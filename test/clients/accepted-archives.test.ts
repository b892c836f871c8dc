/**
 * Archives of every kind by the tools that write them, through a pipe into a running Stowage: it finds the digest that
 * another tool finds, keeps every blob, another client gets every byte back, and ORAS finds every referrer.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { parseReceipt } from "../../src/cli/describe-receipt.ts";
import type { Receipt } from "../../src/load/receipt.ts";
import { isJsonObject } from "../../src/oci/json.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { compareReaders } from "../support/compare-readers.ts";
import { describeIfFound } from "../support/requirement.ts";
import { withService } from "../support/serve-app.ts";
import { type AcceptedArchive, type ArchiveMaker, pullers } from "../tools/accepted-archive.ts";
import { artifactArchives } from "../tools/artifact-archives.ts";
import { buildKitArchives } from "../tools/buildkit-archives.ts";
import { engineArchives } from "../tools/engine-archives.ts";
import { missingTools } from "../tools/find-tool.ts";
import { handmadeArchives } from "../tools/handmade-archives.ts";
import { layoutArchives } from "../tools/layout-archives.ts";
import { type Blobs, digestOf, reachableFrom, readBlobs } from "../tools/read-image.ts";
import { registryArchives } from "../tools/registry-archives.ts";
import { runShell } from "../tools/run-tool.ts";
import { type Environment, type Workshop, openWorkshop } from "../tools/workshop.ts";

const makers: readonly ArchiveMaker[] = [
  ...layoutArchives,
  ...registryArchives,
  ...artifactArchives,
  ...buildKitArchives,
  ...engineArchives,
  ...handmadeArchives,
];

describe("archives of real tools", () => {
  let workshop: Workshop;
  beforeAll(async () => {
    workshop = await openWorkshop();
    return workshop.close;
  });

  for (const { name, needs, prepare, archives } of makers) {
    const pulling = archives.map(({ puller }) => puller);
    describeIfFound(`by ${name}`, missingTools([...needs, ...pulling, "bash", "curl", "oras", "tar"]), () => {
      let env: Environment;
      beforeAll(async () => {
        env = await prepare(workshop);
      });

      it.each(archives.map((archive) => [archive.title, archive] as const))("%s", async (_, archive) => {
        // Of its own, and empty, so that no archive finds what another brought.
        await withService(new MemoryStore(), async (url) => {
          const bench = await pipe(archive, { env, url, folder: await workshop.newFolder() });
          const { images, blobs } = bench.receipt;
          const digests = await bench.ask(archive.digests);
          expect(digests).not.toEqual([]);
          expect(digestsOf(images)).toEqual(digests);
          expect(digestsOf(blobs)).toEqual([...bench.blobs.keys()].toSorted());

          for (const digest of archive.pulled === undefined ? digests : await bench.ask(archive.pulled)) {
            const expected = reachableFrom(digest, bench.blobs);
            expect(expected).toContain(digest);
            expect(await pull(digest, { puller: archive.puller, bench, url })).toEqual(
              expect.arrayContaining(expected),
            );
          }

          for (const [subject, referrers] of referrersIn(bench.blobs)) {
            expect(await discover(subject, { bench, url })).toEqual(referrers);
          }

          // Once more, as a file, and where it holds one image under a name that the request gives it.
          const [digest, ...others] = digests;
          const path = others.length === 0 ? "/renamed/app:9" : "";
          const again = await runShell(`curl -sS --fail-with-body -T image.tar ${url}/v1/load${path}`, bench);
          const renamed = [{ repository: "renamed/app", reference: "9", digest }];
          expect(JSON.parse(again)).toMatchObject({
            images: others.length === 0 ? renamed : images.map((image) => ({ ...image, status: "unchanged" })),
            bytes: { written: 0 },
          });
        });
      });
    });
  }
});

/** An archive that was loaded, and the folder in which it can be asked about. */
interface Bench {
  readonly cwd: string;
  readonly env: Environment;
  readonly receipt: Receipt;
  /** What the archive holds, as another tool unpacks it. */
  readonly blobs: Blobs;
  /** Runs a line that prints digests; they come back sorted, each once. */
  readonly ask: (line: string) => Promise<string[]>;
}

interface PipeOptions {
  readonly env: Environment;
  readonly url: string;
  readonly folder: string;
}

async function pipe(archive: AcceptedArchive, { env, url, folder }: PipeOptions): Promise<Bench> {
  const { script, unpack = "tar -xf image.tar -C unpacked" } = archive;
  const options = { cwd: folder, env };
  const load = `curl -sS --fail-with-body -T - "${url}/v1/load?verbose=true"`;
  const answer = await runShell(`{ ${script}; } | tee ${folder}/image.tar | ${load}`, options);
  const receipt = parseReceipt(JSON.parse(answer));
  if (receipt === undefined) throw new Error(`Cannot read the receipt: found ${answer}`);
  await runShell(`mkdir unpacked; ${unpack}`, options);
  await compareReaders(await readFile(join(folder, "image.tar")));
  return {
    ...options,
    receipt,
    blobs: await readBlobs(join(folder, "unpacked/blobs/sha256")),
    ask: async (line) => {
      const printed = await runShell(line, options);
      return [...new Set(printed.split("\n").filter((digest) => digest !== ""))].toSorted();
    },
  };
}

interface PullOptions {
  readonly puller: AcceptedArchive["puller"];
  readonly bench: Bench;
  readonly url: string;
}

/** The digests of all that the client then has, by its bytes. */
async function pull(digest: string, { puller, bench, url }: PullOptions): Promise<string[]> {
  const { images } = bench.receipt;
  const image = images.find((candidate) => candidate.digest === digest) ?? images[0]; // a part of an index is none
  const { host } = new URL(url);
  const env = { ...bench.env, HOST: host, IMAGE: `${host}/${image?.repository}@${digest}` };
  await runShell(`rm -rf pulled; ${pullers[puller]}`, { cwd: bench.cwd, env });
  const entries = await readdir(join(bench.cwd, "pulled"), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Promise.all(files.map(async (file) => digestOf(await readFile(file))));
}

/** Sorted, each once. */
function digestsOf(named: readonly { readonly digest: string }[]): string[] {
  return [...new Set(named.map(({ digest }) => digest))].toSorted();
}

/** By subject, the digests of what says something about it, sorted. */
function referrersIn(blobs: Blobs): ReadonlyMap<string, readonly string[]> {
  const referrers = new Map<string, string[]>();
  for (const [digest, bytes] of blobs) {
    const json: unknown = bytes[0] === 0x7b ? JSON.parse(Buffer.from(bytes).toString()) : undefined;
    const subject = isJsonObject(json) ? json["subject"] : undefined;
    if (!isJsonObject(subject) || typeof subject["digest"] !== "string") continue;
    referrers.set(subject["digest"], [...(referrers.get(subject["digest"]) ?? []), digest].toSorted());
  }
  return referrers;
}

/** The digests of what ORAS finds by the API, and by nothing else. */
async function discover(subject: string, { bench, url }: Pick<PullOptions, "bench" | "url">): Promise<string[]> {
  const image = `${new URL(url).host}/${bench.receipt.images[0]?.repository}@${subject}`;
  const format = "--depth 1 --format go-template --template '{{range .referrers}}{{.digest}}{{println}}{{end}}'";
  return bench.ask(`oras discover --plain-http --distribution-spec v1.1-referrers-api ${format} ${image}`);
}
