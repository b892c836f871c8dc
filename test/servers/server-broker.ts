/**
 * Starts each real S3 server once for a whole test run, when a test file first asks for it, and ends them all after it.
 * Test files run in processes of their own, so they ask by HTTP: `GET /ceph` answers where Ceph serves, or why it cannot.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type Server, createServer } from "node:http";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export class ServerBroker {
  readonly #servers = new Map<string, StartedServer>();
  readonly #http: Server;

  constructor() {
    this.#http = createServer((request, response) => {
      const name = (request.url ?? "/").slice(1);
      const server = this.#servers.get(name) ?? startServer(name);
      this.#servers.set(name, server);
      void server.answer.then((answer) => response.end(answer));
    });
  }

  /** Listens on a free port of the loopback interface and returns its URL. */
  async listen(): Promise<string> {
    await once(this.#http.listen(0, "127.0.0.1"), "listening");
    const address = this.#http.address();
    if (address === null || typeof address === "string") throw new Error(`Cannot listen: found ${String(address)}`);
    return `http://127.0.0.1:${address.port}`;
  }

  async close(): Promise<void> {
    this.#http.close();
    await Promise.all([...this.#servers.values()].map(endServer));
  }
}

interface StartedServer {
  readonly process: ChildProcess;
  /** JSON: the line with which the server announces itself, or `{"missing": …}`. */
  readonly answer: Promise<string>;
}

function startServer(name: string): StartedServer {
  const script = fileURLToPath(new URL(`${name}.sh`, import.meta.url));
  // Detached, so that Ctrl-C does not reach it: it cleans up when its standard input ends, however this process ends.
  const process = spawn(script, { stdio: "pipe", detached: true });
  const said: string[] = [];
  createInterface(process.stderr).on("line", (line) => said.push(line));
  const answer = new Promise<string>((resolve) => {
    createInterface(process.stdout).once("line", resolve);
    process.once("error", (error) => resolve(JSON.stringify({ missing: error.message })));
    process.once("close", () => resolve(JSON.stringify({ missing: said.at(-1) ?? `${name} ended` })));
  });
  return { process, answer };
}

async function endServer({ process }: StartedServer): Promise<void> {
  if (process.pid === undefined || process.exitCode !== null) return;
  const ended = once(process, "close");
  process.stdin?.end();
  await ended;
}
