// What the benchmarks that compare programs have in common: programs and their figures, an S3 server, a registry.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { cpuSecondsOf, peakMiBOf } from "./measuring.mjs";

const toolsFolder = join(process.env.STOWAGE_TEST_TOOLS ?? join(homedir(), ".cache/stowage-test-tools"), "bin");
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = "true";
const children = [];
export const bucket = "bench";
export const secrets = { AWS_ACCESS_KEY_ID: "bench", AWS_SECRET_ACCESS_KEY: "bench-secret" };

/** What a client of a bucket needs to know. */
export function environmentOf(endpoint) {
  return { ...secrets, AWS_ENDPOINT_URL_S3: endpoint, AWS_REGION: "us-east-1" };
}

/** Ends all programs that `start` has started. */
export function endAll() {
  for (const child of children) child.kill("SIGKILL");
}

/** Makes a temporary folder. When this process ends, also by SIGINT or SIGTERM, all programs end and the folder is deleted. */
export function makeFolder(parent) {
  const folder = mkdtempSync(join(parent, "stowage-bench-"));
  process.once("exit", () => {
    endAll();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 }); // a program that ends may still write
  });
  process.once("SIGINT", () => process.exit(130)).once("SIGTERM", () => process.exit(143));
  return folder;
}

/** An S3 server (VersityGW) with a bucket, which keeps its objects in this folder. */
export async function startGateway(data, options = []) {
  const gateway = findTool("versitygw");
  if (gateway === undefined) throw new Error("found no versitygw (see test/servers/install.sh)");
  mkdirSync(data);
  const port = await freePort();
  const credentials = {
    ROOT_ACCESS_KEY_ID: secrets.AWS_ACCESS_KEY_ID,
    ROOT_SECRET_ACCESS_KEY: secrets.AWS_SECRET_ACCESS_KEY,
  };
  const flags = ["--port", `127.0.0.1:${port}`, "--keep-alive", "--quiet", ...options];
  const child = start([gateway, ...flags, "posix", data], credentials);
  const endpoint = `http://127.0.0.1:${port}`;
  const client = new S3Client({
    endpoint,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: { accessKeyId: secrets.AWS_ACCESS_KEY_ID, secretAccessKey: secrets.AWS_SECRET_ACCESS_KEY },
  });
  await again(async () => client.send(new CreateBucketCommand({ Bucket: bucket })));
  client.destroy();
  return {
    endpoint,
    env: environmentOf(endpoint),
    /** The folder of a prefix. */
    folderOf: (prefix) => join(data, bucket, prefix),
    removePrefix: (prefix) => rmSync(join(data, bucket, prefix), { recursive: true, force: true }),
    stop: () => void child.kill("SIGKILL"),
  };
}

/** distribution's registry. `storage` is the part of its configuration with that name; `config` is the file's path. */
export async function startRegistry(registry, config, storage) {
  const host = `127.0.0.1:${await freePort()}`;
  writeFileSync(config, `version: 0.1\nlog: { level: error }\nstorage: ${JSON.stringify(storage)}\n`);
  const child = start([registry, "serve", config], { REGISTRY_HTTP_ADDR: host, OTEL_TRACES_EXPORTER: "none" });
  await again(async () => fetch(`http://${host}/v2/`));
  return { host, child };
}

/** Starts distribution's registry, with its images below a prefix of the bucket at `endpoint`. */
export async function startRegistryOnBucket(endpoint, prefix, folder, region = "us-east-1") {
  return startRegistry(findTool("registry"), join(folder, `registry-${prefix}.yml`), {
    redirect: { disable: true },
    s3: {
      region,
      regionendpoint: endpoint,
      forcepathstyle: true,
      secure: false,
      bucket,
      rootdirectory: `/${prefix}`,
      accesskey: secrets.AWS_ACCESS_KEY_ID,
      secretkey: secrets.AWS_SECRET_ACCESS_KEY,
    },
  });
}

export function start([command, ...args], env) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"], env: { ...process.env, ...env } });
  child.stdout.resume(); // a full pipe would stop it
  children.push(child);
  return child;
}

/** Starts a program whose first line is all that it prints: { child, line }. */
export async function startPrinting(command) {
  const child = start(command, {});
  const [line] = await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
  if (child.exitCode !== null) throw new Error(`${command.join(" ")} ended with ${child.exitCode}`);
  return { child, line: String(line).trim() };
}

/**
 * Runs a program to its end. Looks at its memory and its time again and again: both are gone with the process. A program
 * that takes longer than `maxSeconds` is ended, and its figures have `isCut`.
 */
export async function run([command, ...args], env, maxSeconds) {
  const started = performance.now();
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, ...env } });
  children.push(child);
  let isCut = false;
  const cut = () => {
    isCut = true;
    child.kill("SIGKILL");
  };
  const cutter = maxSeconds && setTimeout(cut, maxSeconds * 1000);
  let output = "";
  child.stderr.on("data", (text) => (output = (output + text).slice(-4000)));
  const figures = { cpuSeconds: 0, peakMiB: 0 };
  const look = () => {
    try {
      figures.cpuSeconds = cpuSecondsOf(child.pid);
      figures.peakMiB = peakMiBOf(child.pid);
    } catch {
      // it has just ended
    }
  };
  const timer = setInterval(look, 20);
  const [code] = await once(child, "exit");
  clearInterval(timer);
  clearTimeout(cutter);
  const seconds = (performance.now() - started) / 1000;
  if (isCut) return { seconds, ...figures, isCut };
  if (code !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${code}: ${output}`);
  return { seconds, ...figures };
}

export async function freePort() {
  const server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

export async function again(act) {
  for (let tries = 0; ; tries++) {
    try {
      return await act();
    } catch (error) {
      if (tries === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

export function findTool(name) {
  return [toolsFolder, ...(process.env.PATH ?? "").split(delimiter)].map((path) => join(path, name)).find(isExecutable);
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
