/** The commands of the workflow that releases Stowage, run in a copy of the project. */
import { readFileSync } from "node:fs";
import { cp, readFile, readdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { runTool } from "../tools/run-tool.ts";
import { at, listAt, missingPrograms, projectFolder, readYaml, recordOf } from "./infra-tools.ts";
import { type StepOutcome, runStep } from "./run-action.ts";

describeIfFound(
  "infra/ci/release.yml",
  [...missingPrograms("infra-python", "npm", "deno"), ...missingTools(["jq"])],
  () => {
    let document: unknown;
    let folder = "";
    const version = String(at(JSON.parse(readFileSync(join(projectFolder, "package.json"), "utf8")), "version"));
    beforeAll(async () => {
      [document] = await readYaml("infra/ci/release.yml");
      folder = await newFolder();
      for (const name of [
        "package.json",
        "package-lock.json",
        "tsconfig.json",
        "deno.json",
        "LICENSE",
        "README.md",
        "src",
      ]) {
        await cp(join(projectFolder, name), join(folder, name), { recursive: true });
      }
      await symlink(join(projectFolder, "node_modules"), join(folder, "node_modules"));
    });

    /** Runs the command of a job that has a text in it. */
    async function runIn(job: string, text: string, { more = "", tag = `v${version}` } = {}): Promise<StepOutcome> {
      const env = { GITHUB_REF_NAME: tag, GITHUB_SERVER_URL: "https://github.com", GITHUB_REPOSITORY: "acme/stowage" };
      const step = listAt(document, "jobs", job, "steps").find(({ run }) => String(run).includes(text));
      return runStep(`${String(step?.["run"])}${more}`, { env, cwd: folder });
    }

    it("releases a tag that is the version, and no other", async () => {
      expect(await runIn("pack", "package.json")).toMatchObject({ code: 0 });
      expect(await runIn("pack", "package.json", { tag: "v99.0.0" })).toMatchObject({ code: 1 });
    });

    it(
      "packs the package with its repository, its bill of materials, and checksums",
      { timeout: 120_000 },
      async () => {
        expect(await runIn("pack", "npm pack")).toMatchObject({ code: 0 });
        const files = await readdir(join(folder, "release"));
        expect(files.toSorted()).toEqual(["SHA256SUMS", `stowage-${version}.tgz`, "stowage.cdx.json"]);
        await runTool("sha256sum", ["--check", "SHA256SUMS"], { cwd: join(folder, "release") });
        const tgz = join(folder, "release", `stowage-${version}.tgz`);
        const manifest: unknown = JSON.parse(await runTool("tar", ["-xzOf", tgz, "package/package.json"]));
        expect(at(manifest, "repository", "url")).toBe("git+https://github.com/acme/stowage.git");
        const bill: unknown = JSON.parse(await readFile(join(folder, "release/stowage.cdx.json"), "utf8"));
        const names = listAt(bill, "components").map(({ name }) => name);
        expect(names).toContain("hono");
        expect(names).not.toContain("vitest");
      },
    );

    it("has what JSR wants: entries, and types that it can read without inference", async () => {
      const outcome = await runIn("jsr", "deno publish", { more: " --dry-run --allow-dirty" });
      expect(outcome.code, outcome.log).toBe(0);
      expect(outcome.log).toContain(`Simulating publish of @stowage/stowage@${version}`);
    });

    it("pins every action by its commit", () => {
      const names = Object.keys(recordOf(at(document, "jobs")));
      const used = names.flatMap((job) => listAt(document, "jobs", job, "steps").flatMap(({ uses }) => uses ?? []));
      expect(used.length).toBeGreaterThan(10);
      for (const name of used) expect(name).toMatch(/^[\w.-]+\/[\w.-]+@[0-9a-f]{40}$/);
    });
  },
);
