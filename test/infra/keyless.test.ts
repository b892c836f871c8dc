/** The examples of docs/keyless.md. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { permits } from "../../src/auth/access.ts";
import { grantOf } from "../../src/auth/claims.ts";
import { parseOidcRules } from "../../src/auth/parse-oidc.ts";
import { parseConfig } from "../../src/settings/config.ts";
import { identityToken } from "../support/github-job.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { runShell, runTool } from "../tools/run-tool.ts";
import { at, missingPrograms, projectFolder } from "./infra-tools.ts";
import { readSnippets } from "./page.ts";

const page = "docs/keyless.md";
const text = await readFile(join(projectFolder, page), "utf8");
const blocks = (language: string): string[] =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms"))].map(([, block = ""]) => block);

describe("the rules in docs/keyless.md", () => {
  it.each(blocks("json").map((block) => [block]))("test who owns the code: %s", (block) => {
    const rule: unknown = at(JSON.parse(block), 0);
    expect(at(rule, "issuer")).toMatch(/^https:\/\//);
    expect(at(rule, "audience")).toBe("https://stowage.example");
    expect(Object.keys(at(rule, "claims") ?? {}).join()).toMatch(/owner_id|namespace_id|organization_slug|^sub$/);
    expect(at(rule, "actions")).toEqual(["load"]);
    expect(parseConfig({ STOWAGE_OIDC: block }).warnings).toEqual([]);
  });
});

describe("the jobs in infra/ci", () => {
  const claims = { repository: "Acme/app", project_path: "acme/app", pipeline_slug: "app" };

  const files = ["github.yml", "gitlab.yml", "buildkite.yml"]; // in the order of their rules in the page

  it.each(files)("%s loads a name that its rule allows", async (file) => {
    const job = await readFile(join(projectFolder, "infra/ci", file), "utf8");
    const names = [...job.matchAll(/([\w/]+):\$/g)].map(([, name = ""]) => name);
    const { entries: rules = [] } = parseOidcRules(blocks("json")[files.indexOf(file)] ?? "");
    const grants = rules.map((rule) => grantOf(rule, claims));
    expect(names.length).toBeGreaterThan(0);
    expect(names.filter((name) => !permits(grants, "load", name))).toEqual([]);
  });
});

describeIfFound("the job in docs/keyless.md", missingPrograms("kubernetes-validate"), () => {
  it("is one that Kubernetes takes", async () => {
    const [job = ""] = blocks("yaml").filter((block) => block.includes("kind: Job"));
    const file = join(await newFolder(), "job.yaml");
    await writeFile(file, job);
    await runTool("kubernetes-validate", ["--strict", file]);
  });
});

describeIfFound("the commands in docs/keyless.md", missingTools(["jq"]), () => {
  it("print the claims of a token", async () => {
    const [command = ""] = (await readSnippets(page)).filter((snippet) => snippet.includes("@base64d"));
    for (const sub of ["a", "ab", "abc", "ü?>"]) {
      const printed: unknown = JSON.parse(await runShell(command, { env: { STOWAGE_TOKEN: identityToken({ sub }) } }));
      expect(printed).toEqual({ sub });
    }
  });

  it("are shell", async () => {
    const snippets = await readSnippets(page);
    expect(snippets.length).toBeGreaterThan(3);
    for (const snippet of snippets) await runTool("bash", ["-n", "-c", snippet]);
  });
});
