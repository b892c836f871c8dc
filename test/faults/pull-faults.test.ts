/**
 * Harm to clients that pull: they find each changed byte by its digest, and pulling again ends well. `STOWAGE_TEST_RUNS=20` harms
 * every blob of each client.
 */
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { sha256 } from "../support/bytes.ts";
import { type Layout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder, stowage } from "../support/run-stowage.ts";
import { type Tool, missingTools } from "../tools/find-tool.ts";
import { runShell } from "../tools/run-tool.ts";
import { type HarmedService, harms, imageOf, requestsFor, startHarmedService, timeout } from "./harmed-service.ts";

let service: HarmedService;
let images = 0;
beforeAll(async () => {
  service = await startHarmedService();
  return service.close;
});

interface Puller {
  readonly name: string;
  readonly needs: readonly Tool[];
  /** Pulls an image into a folder. Throws if that failed. */
  readonly pull: (image: string, folder: string) => Promise<unknown>;
}

const pullers: readonly Puller[] = [
  {
    name: "skopeo copy",
    needs: ["skopeo"],
    pull: async (image, folder) =>
      runShell(`skopeo copy --quiet --src-tls-verify=false docker://${image} dir:${folder}/pulled`),
  },
  {
    name: "crane pull",
    needs: ["crane"],
    pull: async (image, folder) => runShell(`crane pull --format oci ${image} ${folder}/pulled`),
  },
  {
    name: "regctl image copy",
    needs: ["regctl"],
    pull: async (image, folder) =>
      runShell(`regctl --host reg=${image.split("/")[0]},tls=disabled image copy ${image} ocidir://${folder}/pulled:1`),
  },
  {
    name: "stowage copy",
    needs: [],
    pull: async (image, folder) => {
      const [host, name] = [image.slice(0, image.indexOf("/")), image.slice(image.indexOf("/") + 1)];
      const { code, stderr } = await stowage(["copy", `http://${host}`, `file:${folder}/pulled`, name]);
      if (code !== 0) throw new Error(stderr);
    },
  },
];

describe("a client that pulls, with harm to a blob on its way from Stowage,", () => {
  for (const { name, needs, pull } of pullers) {
    describeIfFound(name, missingTools(["bash", ...needs]), () => {
      it("never takes a changed blob, and ends well when it pulls again", { timeout }, async () => {
        const image = imageOf(images++);
        const { host, harm } = service;
        const body = (await tarOf(image)) as Buffer<ArrayBuffer>;
        const loaded = await fetch(`http://${host}/v1/load/pulled/app:1`, { method: "PUT", body });
        expect(loaded.ok).toBe(true);
        for (const fault of harms) {
          if (fault === "flip a bit of the request") continue; // a GET has no body
          for (const at of requestsFor(fault, 3)) {
            const act = async (): Promise<boolean> => isWholeAfter(pull(`${host}/pulled/app:1`, folder), folder, image);
            let folder = await newFolder();
            await harm(fault, at, act, /\/blobs\//);
            folder = await newFolder();
            expect(await act(), `${fault}, pulled again`).toBe(true);
          }
        }
      });
    });
  }
});

/** Returns false if the pull failed. Otherwise all blobs have to be there. None that is there may be wrong. */
async function isWholeAfter(pulling: Promise<unknown>, folder: string, image: Layout): Promise<boolean> {
  const failure = await pulling.then(
    () => undefined,
    (error: unknown) => String(error),
  );
  if (failure !== undefined) return false;
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const found = await Promise.all(files.map(async (file) => sha256(await readFile(file))));
  expect(found).toEqual(expect.arrayContaining([...image.blobs.keys()]));
  return true;
}
