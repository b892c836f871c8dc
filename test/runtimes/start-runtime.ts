/** Starts the service on each runtime as its users do, as a process of its own. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildStowage } from "../support/build.ts";
import { type Tool, findTool } from "../tools/find-tool.ts";
import { type Service, startService } from "../tools/start-service.ts";

export interface RuntimeUnderTest {
  /** As it stands in the table. */
  readonly name: string;
  /** What of the machine it needs. */
  readonly tool: Tool;
  /** `R2`: a bucket of the Worker's own, simulated; it cannot be looked into from outside. */
  readonly store: "S3" | "R2";
  readonly maxRequestBytes?: number;
  /** The command line; `program` is the path of the built command line. */
  readonly command: (place: Place) => readonly string[];
}

/** What a command line is made of. */
export interface Place {
  /** The path of the runtime itself. */
  readonly tool: string;
  /** The built command line, `dist/cli/stowage.js`. */
  readonly program: string;
  /** An empty folder, deleted in the end. */
  readonly folder: string;
  readonly settings: Readonly<Record<string, string>>;
}

const root = fileURLToPath(new URL("../..", import.meta.url));
const permissions = ["--allow-net", "--allow-env", "--allow-sys", "--allow-read", "--allow-write"];

const serveArguments = ["serve", ...permissions, "--host=127.0.0.1", "--port=0"];

const wranglerOptions = ["dev", "--ip=127.0.0.1", "--port=0", "--inspector-port=0"];

const node = ({ tool, program }: Place): readonly string[] => [tool, program, "serve"];

const workers = ({ tool, folder, settings }: Place): readonly string[] => [
  tool,
  join(root, "node_modules/wrangler/bin/wrangler.js"),
  ...wranglerOptions,
  `--persist-to=${folder}`,
  ...Object.entries(settings).flatMap(([name, value]) => ["--var", `${name}:${value}`]),
];

export const runtimes: readonly RuntimeUnderTest[] = [
  { name: "node 20", tool: "node20", store: "S3", command: node },
  { name: "node 22", tool: "node22", store: "S3", command: node },
  { name: "node 24", tool: "node24", store: "S3", command: node },
  { name: "node 26", tool: "node26", store: "S3", command: node },
  {
    name: "deno",
    tool: "deno",
    store: "S3",
    command: ({ tool }) => [tool, "run", ...permissions, join(root, "src/runtimes/deno.ts")],
  },
  { name: "bun", tool: "bun", store: "S3", command: ({ tool }) => [tool, join(root, "src/runtimes/bun.ts")] },
  { name: "workers, R2", tool: "node24", store: "R2", maxRequestBytes: 100_000_000, command: workers },
  { name: "workers, S3", tool: "node24", store: "S3", maxRequestBytes: 100_000_000, command: workers },
  {
    name: "lambda",
    tool: "node24",
    store: "S3",
    maxRequestBytes: 4_669_440, // what base64 leaves of 6 MiB, less 64 KiB
    command: ({ tool, program }) => [
      tool,
      join(root, "test/runtimes/lambda-server.ts"),
      join(program, "../../runtimes/lambda.js"),
    ],
  },
];

/** Deno listens by itself and asks the program's `fetch`. The table of behaviours leaves it out: it has fewer promises. */
export const denoServe: RuntimeUnderTest = {
  name: "deno serve",
  tool: "deno",
  store: "S3",
  command: ({ tool }) => [tool, ...serveArguments, join(root, "src/runtimes/deno.ts")],
};

/** Starts it; what it answers is its URL. */
export async function startRuntime(
  { tool, command }: RuntimeUnderTest,
  settings: Readonly<Record<string, string>>,
): Promise<Service> {
  const program = await buildStowage();
  const folder = await mkdtemp(join(tmpdir(), "stowage-runtime-"));
  const [first = "", ...rest] = command({ tool: findTool(tool) ?? tool, program, folder, settings });
  return startService({
    folder,
    command: [first, ...rest],
    env: { ...settings, HOST: "127.0.0.1", PORT: "0", WRANGLER_SEND_METRICS: "false", CI: "true" },
    ready: (output) => /(?:listens on|Ready on) (http:\/\/127\.0\.0\.1:\d+)/.exec(output)?.[1],
  });
}
