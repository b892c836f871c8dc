/**
 * Harm to clients that load and push. After each: what was acknowledged is there and whole, sending again ends well, and a byte that
 * was changed on its way is never published. `STOWAGE_TEST_RUNS=20` harms every request of each client.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { stowage } from "../support/run-stowage.ts";
import { type Tool, missingTools } from "../tools/find-tool.ts";
import { runShell } from "../tools/run-tool.ts";
import {
  type HarmedService,
  harms,
  imageOf,
  layoutFolder,
  requestsFor,
  startHarmedService,
  timeout,
} from "./harmed-service.ts";
import { Ledger } from "./ledger.ts";

let service: HarmedService;
let images = 0;
beforeAll(async () => {
  service = await startHarmedService();
  return service.close;
});

describe("a byte that is changed on its way to Stowage", () => {
  const flip = async (path: string, init: RequestInit): Promise<unknown> => {
    const answer = await service.harm("flip a bit of the request", 0, async () =>
      fetch(`http://${service.host}${path}`, init),
    );
    return [answer.status, await answer.text()];
  };
  const refused = [400, expect.stringContaining('"DIGEST_INVALID"') as unknown];
  const statusOf = async (path: string): Promise<number> => (await fetch(`http://${service.host}${path}`)).status;

  it("is refused in a tarball, and nothing is published", async () => {
    const body = (await tarOf(imageOf(images++))) as Buffer<ArrayBuffer>;
    expect(await flip("/v1/load/changed/app:1", { method: "PUT", body })).toEqual(refused);
    expect(await statusOf("/v2/changed/app/manifests/1")).toBe(404);
  });

  it.each(["in one request", "in a stream"])("is refused in a blob that is pushed %s", async (how) => {
    const body = randomBytes(100_000, images++) as Buffer<ArrayBuffer>;
    const begun = await fetch(`http://${service.host}/v2/changed/app/blobs/uploads/`, { method: "POST" });
    const session = new URL(begun.headers.get("Location") ?? "", `http://${service.host}`);
    const end = `${session.pathname}?digest=${sha256(body)}`;
    if (how === "in a stream") {
      expect(await flip(session.pathname, { method: "PATCH", body })).toEqual([202, ""]);
      const answer = await fetch(`http://${service.host}${end}`, { method: "PUT" });
      expect([answer.status, await answer.text()]).toEqual(refused);
    } else {
      expect(await flip(end, { method: "PUT", body })).toEqual(refused);
    }
    expect(await statusOf(`/v2/changed/app/blobs/${sha256(body)}`)).toBe(404);
  });
});

interface Sender {
  readonly name: string;
  readonly needs: readonly Tool[];
  /** Sends an image from a folder and a tarball. Throws if that failed. */
  readonly send: (host: string, repository: string, layout: string, tarball: string) => Promise<unknown>;
}

const senders: readonly Sender[] = [
  {
    name: "curl -T",
    needs: ["curl"],
    send: async (host, repository, _, tarball) =>
      runShell(`curl -sS --fail -T ${tarball} http://${host}/v1/load/${repository}:1`),
  },
  {
    name: "stowage load --to",
    needs: [],
    send: async (host, repository, _, tarball) => {
      const outcome = await stowage(["load", tarball, `${repository}:1`, "--to", `http://${host}`]);
      if (outcome.code !== 0) throw new Error(outcome.stderr);
    },
  },
  {
    name: "skopeo copy",
    needs: ["skopeo"],
    send: async (host, repository, layout) =>
      runShell(
        `skopeo copy --quiet --preserve-digests --dest-tls-verify=false oci:${layout}:1 docker://${host}/${repository}:1`,
      ),
  },
  {
    name: "crane push",
    needs: ["crane"],
    send: async (host, repository, layout) => runShell(`crane push ${layout} ${host}/${repository}:1`),
  },
  {
    name: "regctl image copy",
    needs: ["regctl"],
    send: async (host, repository, layout) =>
      runShell(`regctl --host reg=${host},tls=disabled image copy ocidir://${layout}:1 ${host}/${repository}:1`),
  },
];

for (const { name, needs, send } of senders) {
  describeIfFound(`${name}, with harm on its way to Stowage,`, missingTools(["bash", ...needs]), () => {
    it("loses nothing, publishes no changed byte, and ends well when it sends again", { timeout }, async () => {
      const ledger = new Ledger();
      const folder = name.toLowerCase().replaceAll(/\W+/g, "-");
      const sendOne = async (
        repository: string,
        harm: (act: () => Promise<unknown>) => Promise<unknown>,
      ): Promise<void> => {
        const image = imageOf(images++);
        const layout = await layoutFolder(image);
        const tarball = join(layout, "image.tar");
        await writeFile(tarball, await tarOf(image));
        ledger.doubt(`${repository}:1`, image);
        const act = async (): Promise<unknown> => send(service.host, repository, layout, tarball);
        const isDone = await harm(act).then(
          () => true,
          () => false,
        );
        if (isDone) ledger.acknowledge(`${repository}:1`, image);
        else await ledger.check(service.store, `${repository}, after it failed`);
        await act();
        ledger.acknowledge(`${repository}:1`, image);
      };

      const first = service.requests();
      await sendOne(`${folder}/unharmed`, async (act) => act());
      const count = Math.floor((service.requests() - first) / 2);
      for (const fault of harms) {
        for (const at of requestsFor(fault, count)) {
          const repository = `${folder}/${fault.toLowerCase().replaceAll(" ", "-")}-${at}`;
          await sendOne(repository, async (act) => service.harm(fault, at, act));
        }
      }
      await ledger.check(service.store, "at the end");
    });
  });
}
