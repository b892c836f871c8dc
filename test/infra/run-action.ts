/** Runs steps of GitHub Actions as a runner of GitHub does: by bash, with files for outputs and for the summary. */
import { execFile } from "node:child_process";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { newFolder } from "../support/run-stowage.ts";
import { toolEnvironment } from "../tools/run-tool.ts";
import { at, listAt, projectFolder, readYaml, recordOf } from "./infra-tools.ts";

export interface StepOutcome {
  readonly code: number;
  /** What the job's log shows. A runner keeps the commands that hide secrets out of the log. */
  readonly log: string;
  /** The texts that the runner was told to hide. */
  readonly hidden: readonly string[];
  readonly outputs: Readonly<Record<string, string>>;
  readonly summary: string;
  /** What the step has left in the runner's folder for temporary files. */
  readonly leftovers: readonly string[];
}

export interface StepOptions {
  /** The variables of the job. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
}

/** Runs the only step of a composite action. The outputs are those of the action. */
export async function runAction(
  path: string,
  inputs: Readonly<Record<string, string>>,
  { env = {}, ...options }: StepOptions = {},
): Promise<StepOutcome> {
  const [action] = await readYaml(path);
  const [step, ...more] = listAt(action, "runs", "steps");
  if (step === undefined || more.length > 0) throw new Error(`Cannot run ${path}: expected one step`);
  const declared = Object.entries(recordOf(at(action, "inputs"))).map(([name]) => name);
  const unknown = Object.keys(inputs).filter((name) => !declared.includes(name));
  if (unknown.length > 0) throw new Error(`Cannot run ${path}: it has no input ${unknown.join(", ")}`);
  const outcome = await runStep(String(step["run"]), {
    ...options,
    env: {
      ...env,
      GITHUB_ACTION_PATH: join(projectFolder, dirname(path)),
      ...fillIn(recordOf(step["env"]), (name) => inputs[name.replace("inputs.", "")] ?? ""),
    },
  });
  const outputs: Record<string, string> = {};
  for (const name of Object.keys(recordOf(at(action, "outputs")))) {
    outputs[name] = String(at(action, "outputs", name, "value"));
  }
  const ofStep = `steps.${String(step["id"])}.outputs.`;
  return {
    ...outcome,
    outputs: fillIn(outputs, (name) => outcome.outputs[name.replace(ofStep, "")] ?? ""),
  };
}

/** Runs a script as the runner's `shell: bash` does. */
export async function runStep(script: string, { env = {}, cwd }: StepOptions = {}): Promise<StepOutcome> {
  const folder = await newFolder();
  const [scriptFile, outputFile, summaryFile] = ["step.sh", "output", "summary"].map((name) => join(folder, name));
  const temporary = await newFolder();
  for (const file of [outputFile, summaryFile]) await writeFile(String(file), "");
  await writeFile(String(scriptFile), script);
  const args = ["--noprofile", "--norc", "-eo", "pipefail", String(scriptFile)];
  const runner = {
    GITHUB_ACTIONS: "true",
    GITHUB_OUTPUT: String(outputFile),
    GITHUB_STEP_SUMMARY: String(summaryFile),
    RUNNER_TEMP: temporary,
  };
  const { code, printed } = await new Promise<{ code: number; printed: string }>((resolve) => {
    const options = { cwd: cwd ?? folder, env: toolEnvironment({ NO_COLOR: "1", ...runner, ...env }) };
    execFile("bash", args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), printed: stdout + stderr });
    });
  });
  const lines = printed.split("\n");
  const isMask = (line: string): boolean => line.startsWith("::add-mask::");
  return {
    code,
    log: lines.filter((line) => !isMask(line)).join("\n"),
    hidden: lines.filter(isMask).map((line) => line.slice("::add-mask::".length)),
    outputs: parseOutputs(await readFile(String(outputFile), "utf8")),
    summary: await readFile(String(summaryFile), "utf8"),
    leftovers: await readdir(temporary),
  };
}

/** Lines such as `digest=sha256:…`. */
function parseOutputs(text: string): Record<string, string> {
  const pairs = [...text.matchAll(/^(\w+)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value] as const);
  return Object.fromEntries(pairs);
}

/** Replaces `${{ … }}`. */
export function fillIn(
  texts: Readonly<Record<string, string>>,
  valueOf: (expression: string) => string | undefined,
): Record<string, string> {
  const fill = (text: string): string =>
    text.replaceAll(/\$\{\{ (\S+) \}\}/g, (_, expression: string) => {
      const value = valueOf(expression);
      if (value === undefined) throw new Error(`Cannot evaluate ${expression}`);
      return value;
    });
  return Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, fill(text)] as const));
}
