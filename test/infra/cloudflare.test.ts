import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import workers from "../../src/runtimes/workers.ts";
import { parseConfig } from "../../src/settings/config.ts";
import { incomingPrefix, stagingPrefix } from "../../src/layout/keys.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder } from "../support/run-stowage.ts";
import { sha256 } from "../support/bytes.ts";
import { runShell, runTool } from "../tools/run-tool.ts";
import { at, missingPrograms, projectFolder, recordOf } from "./infra-tools.ts";
import { readCommands, readSnippets } from "./page.ts";

const page = "infra/cloudflare.md";
const incomingFile = "wrangler.incoming.toml";
const wranglerFile = join(projectFolder, "node_modules/wrangler/bin/wrangler.js");

const commandNames = [
  "deploy",
  "queues consumer add",
  "queues consumer remove",
  "queues create",
  "r2 bucket create",
  "r2 bucket lifecycle add",
  "r2 bucket notification create",
  "r2 object put",
  "secret put",
];

describeIfFound(page, missingPrograms("node24"), () => {
  const wrangler = (...args: readonly string[]): Promise<string> =>
    runTool("node24", [wranglerFile, ...args], {
      cwd: projectFolder,
      env: { WRANGLER_SEND_METRICS: "false", CI: "true" },
    });

  it.each(["wrangler.toml", incomingFile])(
    "deploys what %s says, as far as that can be tried without an account",
    { timeout: 60_000 },
    async (file) => {
      const output = await wrangler("deploy", "--config", file, "--dry-run", "--outdir", await newFolder());
      expect(output).toMatch(/env\.IMAGES \(stowage\)\s+R2 Bucket/);
      expect(output).not.toMatch(/warning/i);
    },
  );

  it("has one Worker in both files, which differ by the queue alone", async () => {
    const plain = await settingsOf("wrangler.toml");
    const incoming = await settingsOf(incomingFile);
    const added = [
      "[[queues.consumers]]",
      'queue = "stowage-incoming"',
      "max_batch_size = 1",
      "max_retries = 10",
      "retry_delay = 30",
      'dead_letter_queue = "stowage-dead"',
    ];
    expect(incoming.filter((line) => !plain.includes(line))).toEqual(added);
    expect(incoming.filter((line) => !added.includes(line))).toEqual(plain);
  });

  it("collects garbage each 15 minutes", async () => {
    const settings = await settingsOf("wrangler.toml");
    expect(settings.join("\n")).toContain('[triggers]\ncrons = ["*/15 * * * *"]');
    expect(workers).toHaveProperty("scheduled");
  });

  it("asks for tokens when the button is used, and its page makes one", async () => {
    const asked = await readFile(join(projectFolder, ".dev.vars.example"), "utf8");
    expect([...asked.matchAll(/^(\w+)=(.*)$/gm)].map(([, ...pair]) => pair)).toEqual([["STOWAGE_TOKENS", "[]"]]);
    expect(parseConfig({ STOWAGE_TOKENS: "[]" }, { isReachable: true }).access).toMatchObject({ tokens: [] });
    const about = await readFile(join(projectFolder, "package.json"), "utf8");
    expect(Object.keys(recordOf(at(JSON.parse(about), "cloudflare", "bindings")))).toEqual(["STOWAGE_TOKENS"]);

    const snippet = (await readSnippets(page)).find((text) => text.startsWith("secret="));
    const [secret = "", tokens = ""] = (await runShell(snippet ?? "")).trim().split("\n");
    const sha256OfIt = sha256(Buffer.from(secret)).slice("sha256:".length);
    expect(parseConfig({ STOWAGE_TOKENS: tokens }).access).toMatchObject({
      tokens: [{ name: "ci", sha256: sha256OfIt, actions: ["pull", "load"] }],
    });
  });

  it("deploys the example of wrangler.toml that copies to other stores", { timeout: 60_000 }, async () => {
    const toml = await readFile(join(projectFolder, "wrangler.toml"), "utf8");
    const example = /^(?=# STOWAGE_COPY_TARGETS)(?:# .*\n)+/m;
    expect(toml).toMatch(example);
    const uncommented = toml.replace(example, (lines) => lines.replaceAll(/^# /gm, ""));
    const file = join(await newFolder(), "wrangler.toml"); // its paths begin at the folder of the file
    await writeFile(file, uncommented.replaceAll(/"(?:\.\/)?(?=src\/|node_modules\/)/g, `"${projectFolder}`));
    const output = await wrangler("deploy", "--config", file, "--dry-run", "--outdir", await newFolder());
    expect(output).toMatch(/env\.IMAGES_US \(stowage-us\)\s+R2 Bucket/);
    expect(output).toContain("env.STOWAGE_COPY_AFTER_LOAD");
    const value = (name: string): string => new RegExp(`^${name} = ["'](.+)["']$`, "m").exec(uncommented)?.[1] ?? "";
    const env = {
      STOWAGE_COPY_TARGETS: value("STOWAGE_COPY_TARGETS"),
      STOWAGE_COPY_AFTER_LOAD: value("STOWAGE_COPY_AFTER_LOAD"),
    };
    expect([...parseConfig(env).copyTargets.values()]).toEqual([
      "r2:IMAGES_US",
      "s3://acme-images-eu/images?region=eu-central-1",
    ]);
  });

  it("has only commands and options that wrangler knows", { timeout: 120_000 }, async () => {
    const commands = (await readCommands(page)).filter((line) => line.includes("npx wrangler "));
    expect(commands.length).toBeGreaterThan(6);
    const helpOf: Record<string, Promise<string>> = {};
    for (const command of commands) {
      const line = command.slice(command.indexOf("npx wrangler ") + "npx wrangler ".length);
      const name = commandNames.find((known) => `${line} `.startsWith(`${known} `)) ?? line;
      const help = await (helpOf[name] ??= wrangler(...name.split(" "), "--help"));
      expect(help).toContain(`wrangler ${name}`);
      for (const [option] of line.matchAll(/--[\w-]+/g)) expect(help, command).toMatch(new RegExp(`${option}\\b`));
    }
  });

  it("names the bucket, the queue and the keys as wrangler.toml and the service do", async () => {
    const toml = await readFile(join(projectFolder, incomingFile), "utf8");
    const text = (await readCommands(page)).join("\n");
    const value = (name: string): string => new RegExp(`^${name} = "(.+)"$`, "m").exec(toml)?.[1] ?? "";
    const bucket = value("bucket_name");
    const prefix = value("STOWAGE_STORE").replace(/^r2:\w+\/?/, "");
    expect(text).toContain(`lifecycle add ${bucket} unfinished-uploads --abort-multipart-days 1 `);
    expect(text).toContain(`lifecycle add ${bucket} staging ${prefix}${stagingPrefix} --expire-days 2 `);
    expect(text).toContain(`lifecycle add ${bucket} incoming ${prefix}${incomingPrefix} --expire-days 7 `);
    expect(text).toContain(`queues create ${value("queue")}\n`);
    expect(text).toContain(
      `queues create ${value("dead_letter_queue")} --message-retention-period-secs ${7 * 24 * 60 * 60}\n`,
    );
    expect(text).toContain(`queues consumer add ${value("dead_letter_queue")} ${value("name")} `);
    expect(text).toContain(`queues consumer remove ${value("dead_letter_queue")} ${value("name")}`);
    expect(text).toContain(`--prefix ${prefix}${incomingPrefix} --queue ${value("queue")}`);
  });

  it.each(["wrangler.toml", incomingFile])("has no secret among the variables of %s", async (file) => {
    const toml = await readFile(join(projectFolder, file), "utf8");
    expect(toml).not.toMatch(/^(STOWAGE_TOKENS|AWS_SECRET_ACCESS_KEY|AWS_ACCESS_KEY_ID) *=/m);
    expect(toml).not.toMatch(/^STOWAGE_ALLOW_ANYONE *= *"true"/m);
  });
});

/** The lines of a configuration without comments. */
async function settingsOf(file: string): Promise<string[]> {
  const text = await readFile(join(projectFolder, file), "utf8");
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}
