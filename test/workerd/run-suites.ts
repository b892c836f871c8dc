/** Runs the suites beside this file inside workerd, by a Vitest of its own, and reads what became of them. */
import { execFile, execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { messageOf } from "../../src/errors.ts";
import { startRoughRegistry } from "../remote/fake-registry.ts";
import type { S3Server } from "../servers/s3-servers.ts";
import { randomBytes } from "../support/bytes.ts";
import { findTool, toolsPath } from "../tools/find-tool.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const timeoutMs = 300_000;
const blobBytes = 3 * 1024 * 1024;
/** What the Vitest plugin of workerd needs. */
const oldestNode = 22;

export interface SuiteTest {
  /** Where it stands, from the outermost `describe` inward. */
  readonly ancestorTitles: readonly string[];
  readonly title: string;
  readonly status: string;
  readonly failureMessages: readonly string[];
}

export interface SuitesReport {
  readonly tests: readonly SuiteTest[];
  /** What failed outside of any test: a file that cannot be loaded, an error that nobody caught. */
  readonly failures: readonly string[];
}

/** A Node that can run them: this one, one of the tests' own tools, or the PATH's. */
export function findNode(): string | undefined {
  const names = [process.execPath, findTool("node24"), findTool("node22"), "node"];
  return names.find((path) => path !== undefined && isNewNode(path));
}

function isNewNode(path: string): boolean {
  if (!basename(path).startsWith("node")) return false; // Deno and Bun say that they are Node
  try {
    const version = execFileSync(path, ["--version"], { encoding: "utf8" });
    return Number(/^v(\d+)/.exec(version)?.[1] ?? 0) >= oldestNode;
  } catch {
    return false;
  }
}

/** Rejects if the run leaves no report. */
export async function runSuites(node: string, s3Server: S3Server | undefined): Promise<SuitesReport> {
  const registry = await startRoughRegistry(randomBytes(blobBytes));
  const folder = await mkdtemp(join(tmpdir(), "stowage-workerd-"));
  const file = join(folder, "report.json");
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  const config = join(root, "test/workerd/vitest.config.ts");
  const args = [vitest, "run", "--config", config, "--reporter=json", `--outputFile=${file}`];
  try {
    const failure = await promisify(execFile)(node, args, {
      cwd: root,
      env: { ...environment(s3Server), STOWAGE_WORKERD_REGISTRY: JSON.stringify({ url: registry.url, blobBytes }) },
      maxBuffer: 64 * 1024 * 1024,
      timeout: timeoutMs,
    }).then(() => undefined, messageOf);
    const text = await readFile(file, "utf8").catch(() => undefined);
    if (text === undefined) throw new Error(`Cannot run the suites in workerd: ${failure}`);
    const report: JsonReport = JSON.parse(text);
    return describeReport(report, failure);
  } finally {
    await registry.close();
    await rm(folder, { recursive: true });
  }
}

/** Without what the Vitest that runs this one says to its own workers. */
function environment(s3Server: S3Server | undefined): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("VITEST"));
  return {
    ...Object.fromEntries(own),
    PATH: toolsPath,
    NODE_ENV: "test",
    WRANGLER_SEND_METRICS: "false",
    NO_PROXY: "127.0.0.1",
    no_proxy: "127.0.0.1",
    ...(s3Server && { STOWAGE_WORKERD_S3: JSON.stringify(s3Server) }),
  };
}

/** As far as Vitest's JSON reporter writes it. */
interface JsonReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly message: string;
    readonly assertionResults: readonly SuiteTest[];
  }[];
}

function describeReport({ testResults }: JsonReport, failure: string | undefined): SuitesReport {
  const tests = testResults.flatMap(({ assertionResults }) => assertionResults);
  const failures = testResults.flatMap(({ name, message }) => (message === "" ? [] : [`${name}: ${message}`]));
  const isExplained = failures.length > 0 || tests.some(({ status }) => status === "failed");
  return { tests, failures: failure === undefined || isExplained ? failures : [failure] };
}
