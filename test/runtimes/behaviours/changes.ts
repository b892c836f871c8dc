/** What becomes of images that are there: they are deleted, or kept, and move on a condition. */
import { expect } from "vitest";
import { makeLayout, tarOf } from "../../support/layout.ts";
import { type Answer, type AskOptions, type Behaviour, type Trial, ask, load, loaded, secrets } from "../trial.ts";

const image = makeLayout({ label: "changes" });
const other = makeLayout({ label: "other changes" });
const multi = makeLayout({ platforms: ["linux/amd64", "linux/arm64"], label: "changes" });

export const changes: readonly Behaviour[] = [
  {
    name: "tags and manifests deleted",
    run: async (trial) => {
      for (const tag of ["1", "2"]) await loaded(trial, await tarOf(image), `changes/app:${tag}`);
      expect(await remove(trial, "app", "1", { secret: secrets.reader })).toMatchObject({
        status: 403,
        code: "DENIED",
      });
      expect(await remove(trial, "app", "1")).toMatchObject({ status: 202, bytes: { length: 0 } });
      expect(await remove(trial, "app", "1")).toMatchObject({ status: 404, code: "MANIFEST_UNKNOWN" });
      expect(await statuses(trial, "app", ["1", "2", image.digest])).toEqual([404, 200, 200]);
      expect(await remove(trial, "app", image.digest)).toMatchObject({ status: 202 });
      expect(await statuses(trial, "app", ["2", image.digest])).toEqual([404, 404]);
      await loaded(trial, await tarOf(image), "changes/app:1");
      expect(await statuses(trial, "app", ["1", image.digest])).toEqual([200, 200]);
    },
  },
  {
    name: "parts of an index deleted after it",
    run: async (trial) => {
      const [part = ""] = multi.manifests;
      await loaded(trial, await tarOf(multi), "changes/multi:1");
      expect(await remove(trial, "multi", part)).toMatchObject({ status: 400, code: "UNSUPPORTED" });
      expect(await remove(trial, "multi", multi.digest)).toMatchObject({ status: 202 });
      expect(await remove(trial, "multi", part)).toMatchObject({ status: 202 });
      expect(await statuses(trial, "multi", [multi.digest, part])).toEqual([404, 404]);
    },
  },
  {
    name: "loads and deletions on a condition: 412",
    run: async (trial) => {
      await remove(trial, "held", "1");
      const send = async (layout: typeof image, headers: Readonly<Record<string, string>>): Promise<number> =>
        (await load(trial, await tarOf(layout), "changes/held:1", { headers })).status;
      const at = { "If-Match": `"${image.digest}"` };
      expect(await send(image, { "If-None-Match": "*" })).toBe(201);
      expect(await send(other, { "If-None-Match": "*" })).toBe(412);
      expect(await send(other, at)).toBe(201);
      expect(await send(image, at)).toBe(412);
      expect(await remove(trial, "held", "1", { headers: at })).toMatchObject({
        status: 412,
        code: "CONDITION_FAILED",
      });
      expect(await statuses(trial, "held", ["1"])).toEqual([200]);
    },
  },
  {
    name: "tags that never move: 409",
    run: async (trial) => {
      await loaded(trial, await tarOf(image), "changes/kept:release-1");
      const moved = await load(trial, await tarOf(other), "changes/kept:release-1");
      expect(moved).toMatchObject({ status: 409, code: "TAG_IMMUTABLE" });
      expect(await remove(trial, "kept", image.digest)).toMatchObject({ status: 409, code: "TAG_IMMUTABLE" });
      expect(await statuses(trial, "kept", ["release-1"])).toEqual([200]);
    },
  },
];

async function remove(trial: Trial, name: string, reference: string, options: AskOptions = {}): Promise<Answer> {
  return ask(trial, `/v2/changes/${name}/manifests/${reference}`, { ...options, method: "DELETE" });
}

async function statuses(trial: Trial, name: string, references: readonly string[]): Promise<number[]> {
  const answers = references.map(async (reference) => ask(trial, `/v2/changes/${name}/manifests/${reference}`));
  return (await Promise.all(answers)).map(({ status }) => status);
}
