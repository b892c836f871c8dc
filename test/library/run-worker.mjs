/**
 * Runs a Worker in workerd, with Node 22 or later: `run-worker.mjs CONFIG TARBALL TOKEN`. Prints a line of JSON with what it
 * answered to a page of its own, to loads without and with the token, and to a pull.
 */
import { readFile } from "node:fs/promises";
import process from "node:process";
import { unstable_startWorker as startWorker } from "wrangler";

const [config, tarball, token] = process.argv.slice(2);
const worker = await startWorker({ config, dev: { server: { port: 0 }, inspector: false, logLevel: "error" } });
try {
  const origin = "http://worker.example";
  const upload = { method: "PUT", body: await readFile(tarball) };
  const page = await (await worker.fetch(`${origin}/`)).text();
  const refused = await worker.fetch(`${origin}/v1/load`, upload);
  const headers = { Authorization: `Bearer ${token}` };
  const loaded = await worker.fetch(`${origin}/v1/load`, { ...upload, headers });
  const pulled = await worker.fetch(`${origin}/v2/team/app/manifests/1.4`);
  const digest = pulled.headers.get("Docker-Content-Digest");
  const answers = { page, refused: refused.status, loaded: loaded.status, pulled: pulled.status, digest };
  process.stdout.write(`${JSON.stringify(answers)}\n`);
} finally {
  await worker.dispose();
}
