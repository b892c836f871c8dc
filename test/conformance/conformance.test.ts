/**
 * The distribution specification's own conformance suite, against the real service. Twice: asked directly of what was loaded,
 * of which the suite knows the digests alone; and with all that the suite makes up for registries that it can push to, of
 * which it knows every byte, so that ranges, filters and deletions are judged as well.
 */
import { beforeAll, describe, expect, it } from "vitest";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { findS3Server } from "../servers/s3-servers.ts";
import { joinLayouts, makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { type ServingCommand, newFolder, serveStowage } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { type SuiteReport, repository, runSuite } from "./run-suite.ts";

/** What the suite judges, by the setting that switches it. What `isOn` has to pass, from then on. */
const categories = [
  {
    name: "pull",
    setting: "API_PULL",
    isOn: true,
    tests: /\/(?:head|pull)\/|^missing-manifest\/|^sha256 blobs\/range requests\/range /,
    leastPassed: { loaded: 22, pushed: 248 },
  },
  {
    name: "the list of tags",
    setting: "API_TAGS_LIST",
    isOn: true,
    tests: /\/tag[- ]list$/,
    leastPassed: { loaded: 2, pushed: 18 },
  },
  {
    name: "referrers",
    setting: "API_REFERRER",
    isOn: true,
    tests: /\/referrers$/,
    leastPassed: { loaded: 2, pushed: 4 },
  },
  {
    name: "the deletion of tags",
    setting: "API_TAGS_DELETE",
    isOn: true,
    tests: /\/tag-delete$/,
    leastPassed: { loaded: 0, pushed: 19 }, // the suite deletes no tags but its own
  },
  {
    name: "the deletion of manifests",
    setting: "API_MANIFESTS_DELETE",
    isOn: true,
    tests: /\/manifest-delete$/,
    leastPassed: { loaded: 6, pushed: 38 },
  },
] as const;

const settings = {
  ...Object.fromEntries(categories.map(({ setting, isOn }) => [setting, isOn])),
  API_BLOBS_DELETE: false, // all repositories share them
};

describeIfFound("the conformance suite", missingTools(["bash", "conformance"]), () => {
  describe("on a directory", () => {
    judge(async () => serveStowage(["--store", `file:${await newFolder()}`]));
  });

  describe("on S3", async () => {
    const server = await findS3Server("versitygw");
    describeIfFound("of VersityGW", typeof server === "string" ? [server] : [], () => {
      if (typeof server === "string") return;
      judge(async () => {
        await makeTestBucket(createS3Client(s3Environment(server)));
        const store = `s3://${testBucket}/conformance/${crypto.randomUUID()}`;
        return serveStowage(["--store", store], s3Environment(server));
      });
    });
  });
});

function judge(serve: () => Promise<ServingCommand>): void {
  const runs = [
    ["loaded", suiteOfLoaded],
    ["pushed", suiteOfPushed],
  ] as const;

  describe.each(runs)("asked of what was %s", (run, ask) => {
    let report: SuiteReport;

    beforeAll(async () => {
      const stowage = await serve();
      report = await ask(stowage.url);
      stowage.kill("SIGTERM");
      await stowage.outcome;
    });

    it("finds nothing that is wrong, or not there", () => {
      const wrong = report.tests.filter(({ status }) => !["Pass", "Disabled"].includes(status));
      expect(wrong).toEqual([]);
      expect(report.counts).toMatchObject({ FAIL: 0, Error: 0, Skip: 0 });
    });

    const asked = categories.filter(({ isOn, leastPassed }) => isOn && leastPassed[run] > 0);
    it.each(asked)("passes $name", ({ tests, leastPassed }) => {
      const passed = report.tests.filter(({ name, status }) => status === "Pass" && tests.test(name));
      expect(passed.length).toBeGreaterThanOrEqual(leastPassed[run]);
    });
  });
}

/** An image and an index with tags, and an artifact that has the image as its subject. */
async function suiteOfLoaded(url: string): Promise<SuiteReport> {
  const image = makeLayout({ refName: "image" });
  const index = makeLayout({ refName: "index", platforms: ["linux/amd64", "linux/arm64"] });
  const [subject] = makeLayout().roots; // the same image, in a descriptor that has no name
  const artifact = makeLayout({ label: "artifact", manifest: { artifactType: "application/vnd.test", subject } });
  const layout = joinLayouts(image, index, artifact);
  const answer = await fetch(`${url}/v1/load/${repository}`, {
    method: "PUT",
    body: new Uint8Array(await tarOf(layout)),
  });
  expect(answer.status, await answer.text()).toBe(201);
  return runSuite(url, {
    ...settings,
    API_PUSH: false,
    RO_DATA_TAGS: "image index",
    RO_DATA_MANIFESTS: [...layout.manifests, index.digest].join(" "), // it deletes the last one first
    RO_DATA_BLOBS: [...new Set(layout.layers)].join(" "),
    RO_DATA_REFERRERS: image.digest,
  });
}

/** All of the suite but the deletion of blobs, with what the next version of the specification adds. */
async function suiteOfPushed(url: string): Promise<SuiteReport> {
  return runSuite(url, {
    ...settings,
    VERSION: "dev",
    API_BLOBS_UPLOAD_CANCEL: true,
  });
}
