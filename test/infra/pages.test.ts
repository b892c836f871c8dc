import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder } from "../support/run-stowage.ts";
import { runTool } from "../tools/run-tool.ts";
import { missingPrograms, projectFolder } from "./infra-tools.ts";
import { readSnippets } from "./page.ts";

const files = (await readdir(join(projectFolder, "infra"), { recursive: true, withFileTypes: true }))
  .filter((file) => file.isFile() && !file.parentPath.includes("/infra/aws/build"))
  .map((file) => join(file.parentPath, file.name).slice(projectFolder.length));
const pages = files.filter((file) => file.endsWith(".md"));

describe.each(pages)("%s", (page) => {
  it("says what it costs and what its limits are", async () => {
    const text = await readFile(join(projectFolder, page), "utf8");
    expect(text).toMatch(/^\*\*What it costs\.\*\*/m);
    expect(text).toMatch(/^\*\*Limits\.\*\*/m);
  });

  it("has commands that are shell", async () => {
    const snippets = await readSnippets(page);
    expect(snippets.length).toBeGreaterThan(0);
    for (const snippet of snippets) {
      const file = join(await newFolder(), "snippet.sh");
      await writeFile(file, snippet);
      await runTool("bash", ["-n", file]);
    }
  });
});

describe("infra/", () => {
  it.each(files)("%s holds no secret", async (file) => {
    const text = await readFile(join(projectFolder, file), "utf8");
    expect(text).not.toMatch(/AKIA[A-Z0-9]{12}|-----BEGIN|stowage_[\w-]{40}|\b[0-9a-f]{64}\b/);
    expect(text).not.toMatch(/(?:SECRET|PASSWORD|TOKENS?)\w* ?[=:] ?["']?\w{12,}/);
  });
});

describeIfFound("infra/stowage.service", missingPrograms("systemd-analyze"), () => {
  it("is a unit that systemd takes, with little that it could do", async () => {
    const unit = join(projectFolder, "infra/stowage.service");
    const report = await runTool("systemd-analyze", [
      "security",
      "--offline=yes",
      "--threshold=20",
      "--no-pager",
      unit,
    ]);
    expect(report).toMatch(/Overall exposure level for stowage\.service: [01]\.\d OK/);
  });
});
