import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { describe, expect, it } from "vitest";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder } from "../support/run-stowage.ts";
import { runShell, runTool } from "../tools/run-tool.ts";
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

const units = ["stowage.service", "stowage-gc.service"];

describeIfFound("the units of systemd", missingPrograms("systemd-analyze"), () => {
  it.each(units)("%s can do little", async (name) => {
    const unit = join(projectFolder, "infra", name);
    const args = ["security", "--offline=yes", "--threshold=20", "--no-pager", unit];
    const report = await runTool("systemd-analyze", args);
    expect(report).toMatch(new RegExp(`Overall exposure level for ${name}: [01]\\.\\d OK`));
  });

  it("have no mistake", async () => {
    const folder = await newFolder();
    const names = [...units, "stowage-gc.timer"];
    for (const name of names) {
      const text = await readFile(join(projectFolder, "infra", name), "utf8");
      await writeFile(join(folder, name), text.replace("/usr/bin/node ", `${process.execPath} `)); // it must be there
    }
    const report = await runShell(`systemd-analyze verify ${names.join(" ")} 2>&1`, { cwd: folder });
    expect(report.split("\n").filter((line) => line.includes("stowage"))).toEqual([]); // others are the machine's own units
  });

  it("use the same program, store, settings and user", async () => {
    const [service = "", gc = ""] = await Promise.all(
      units.map((name) => readFile(join(projectFolder, "infra", name), "utf8")),
    );
    const linesOf = (text: string): string[] =>
      text
        .split("\n")
        .filter(
          (line) =>
            /^[A-Z]\w+=/.test(line) &&
            !/^(?:Description|ExecStart|Restart|Timeout|StartLimit|Type|WantedBy)/.test(line),
        );
    expect(linesOf(gc)).toEqual(linesOf(service));
    const program = (text: string): string | undefined => /^ExecStart=(.+) (?:serve|gc)$/m.exec(text)?.[1];
    expect(program(gc)).toBe(program(service));
    expect(program(gc)).toBeDefined();
  });
});
