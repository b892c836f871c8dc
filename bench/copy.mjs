// Copies images by `stowage copy`, by rclone and by skopeo, and compares them. See README.md.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { cpus, homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { parseArgs } from "node:util";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { makeLayout } from "./make-layout.mjs";
import { cpuSecondsOf, listening, median, peakMiBOf, print } from "./measuring.mjs";

const { values } = parseArgs({
  options: {
    mib: { type: "string", default: "10240" },
    blobs: { type: "string", default: "1000" },
    images: { type: "string", default: "20" },
    rounds: { type: "string", default: "3" },
    only: { type: "string", default: "server,streamed" },
    folder: { type: "string", default: tmpdir() },
  },
});

const toolsFolder = join(process.env.STOWAGE_TEST_TOOLS ?? join(homedir(), ".cache/stowage-test-tools"), "bin");
const program = new URL("../dist/cli/stowage.js", import.meta.url).pathname;
const bucket = "bench";
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = "true";
const secrets = { AWS_ACCESS_KEY_ID: "bench", AWS_SECRET_ACCESS_KEY: "bench-secret" };
const images = Array.from({ length: Number(values.images) }, (_, i) => `v${i}`);

const folder = mkdtempSync(join(values.folder, "stowage-bench-"));
const children = [];
try {
  const [mib, blobs] = [Number(values.mib), Number(values.blobs)];
  print(`node ${process.version}, ${cpus().length} cores; ${mib} MiB in ${blobs} blobs of ${images.length} images`);
  const layout = join(folder, "layout");
  await makeLayout(layout, { mib, blobs, images: images.length });
  if (values.only.includes("server")) await compareServerCopies(layout);
  if (values.only.includes("streamed")) await compareStreams(layout);
} finally {
  for (const child of children) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}

/** Between two prefixes of one bucket: the server copies. */
async function compareServerCopies(layout) {
  const gateway = await startGateway("server");
  const from = `s3://${bucket}/from`;
  await run([process.execPath, program, "copy", `file:${layout}`, from], gateway.env);
  const rclone = findTool("rclone");
  await compare("server", {
    stowage: async (round) => {
      const to = `to-stowage-${round}`;
      const args = ["copy", from, `s3://${bucket}/${to}`, "--copy", "server"];
      return gateway.measured(to, [process.execPath, program, ...args], gateway.env);
    },
    // As many copies at once as Stowage makes.
    ...(rclone !== undefined && {
      rclone: async (round) => {
        const to = `to-rclone-${round}`;
        const args = ["copy", `b:${bucket}/from`, `b:${bucket}/${to}`, "--transfers", "16", "--checkers", "16"];
        return gateway.measured(to, [rclone, ...args], gateway.rcloneEnv);
      },
    }),
  });
  gateway.stop();
}

/** From a service into another server: the bytes pass through the client, which checks them. */
async function compareStreams(layout) {
  const service = start([process.execPath, program, "serve", "--store", `file:${layout}`, "--port", "0"], {});
  const url = await listening(service);
  const gateway = await startGateway("streamed");
  const [skopeo, registry] = [findTool("skopeo"), findTool("registry") ?? findTool("docker-registry")];
  await compare("streamed", {
    stowage: async (round) => {
      const to = `streamed-${round}`;
      const args = ["copy", url, `s3://${bucket}/${to}`];
      return gateway.measured(to, [process.execPath, program, ...args], gateway.env);
    },
    ...(skopeo !== undefined &&
      registry !== undefined && {
        skopeo: async (round) => {
          const target = await startRegistry(registry, `registry-${round}`);
          const { host } = new URL(url);
          const flags = ["--quiet", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"];
          const results = [];
          const names = await namesOf(url);
          for (const name of names) {
            const ends = [`docker://${host}/${name}`, `docker://${target.host}/${name}`];
            results.push(await run([skopeo, "copy", ...flags, ...ends], {}));
          }
          target.stop();
          return {
            seconds: sum(results.map(({ seconds }) => seconds)),
            cpuSeconds: sum(results.map(({ cpuSeconds }) => cpuSeconds)),
            peakMiB: Math.max(...results.map(({ peakMiB }) => peakMiB)),
          };
        },
      }),
  });
  gateway.stop();
  service.kill("SIGTERM");
}

/** Runs the tools in an order that alternates, and prints medians and the ratios of the pairs. */
async function compare(title, tools) {
  const names = Object.keys(tools);
  const results = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 1; round <= Number(values.rounds); round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const result = await tools[name](round);
      print(`${title} ${round}  ${describe(name, result)}`);
      results[name].push(result);
    }
  }
  const of = (name, key) => median(results[name].map((result) => result[key]));
  for (const name of names) {
    const keys = ["seconds", "cpuSeconds", "peakMiB"];
    print(`${title} median  ${describe(name, Object.fromEntries(keys.map((key) => [key, of(name, key)])))}`);
  }
  for (const other of names.filter((name) => name !== "stowage")) {
    const ratios = results.stowage.map(({ seconds }, i) => seconds / results[other][i].seconds);
    print(`${title} stowage / ${other}, median of pairs: ${median(ratios).toFixed(2)} in time`);
  }
  if (names.length === 1) print(`${title} has nothing to compare with: a program is missing`);
}

async function startGateway(name) {
  const gateway = findTool("versitygw");
  if (gateway === undefined) throw new Error("found no versitygw (see test/servers/install.sh)");
  const data = join(folder, name);
  mkdirSync(data);
  const port = await freePort();
  const credentials = {
    ROOT_ACCESS_KEY_ID: secrets.AWS_ACCESS_KEY_ID,
    ROOT_SECRET_ACCESS_KEY: secrets.AWS_SECRET_ACCESS_KEY,
  };
  const child = start([gateway, "--port", `127.0.0.1:${port}`, "--keep-alive", "--quiet", "posix", data], credentials);
  const endpoint = `http://127.0.0.1:${port}`;
  const client = new S3Client({
    endpoint,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: { accessKeyId: secrets.AWS_ACCESS_KEY_ID, secretAccessKey: secrets.AWS_SECRET_ACCESS_KEY },
  });
  await again(async () => client.send(new CreateBucketCommand({ Bucket: bucket })));
  client.destroy();
  const removePrefix = (prefix) => rmSync(join(data, bucket, prefix), { recursive: true, force: true });
  return {
    env: { ...secrets, AWS_ENDPOINT_URL_S3: endpoint, AWS_REGION: "us-east-1" },
    rcloneEnv: {
      RCLONE_CONFIG: join(folder, "none.conf"),
      RCLONE_CONFIG_B_TYPE: "s3",
      RCLONE_CONFIG_B_PROVIDER: "Other",
      RCLONE_CONFIG_B_ENDPOINT: endpoint,
      RCLONE_CONFIG_B_REGION: "us-east-1",
      RCLONE_CONFIG_B_ACCESS_KEY_ID: secrets.AWS_ACCESS_KEY_ID,
      RCLONE_CONFIG_B_SECRET_ACCESS_KEY: secrets.AWS_SECRET_ACCESS_KEY,
    },
    /** Runs a program that fills a prefix, checks that it has every blob, and removes the prefix. */
    async measured(prefix, command, env) {
      try {
        const result = await run(command, env);
        const blobs = readdirSync(join(data, bucket, prefix, "blobs/sha256")).length;
        const expected = Number(values.blobs) + 2 * images.length;
        if (blobs !== expected) throw new Error(`found ${blobs} blobs, expected ${expected}`);
        return result;
      } finally {
        removePrefix(prefix);
      }
    },
    stop: () => void child.kill("SIGKILL"),
  };
}

async function startRegistry(registry, name) {
  const storage = join(folder, name);
  mkdirSync(storage);
  const host = `127.0.0.1:${await freePort()}`;
  const config = join(folder, `${name}.yml`);
  writeFileSync(
    config,
    `version: 0.1\nlog: { level: error }\nstorage: { filesystem: { rootdirectory: ${storage} } }\n`,
  );
  const child = start([registry, "serve", config], { REGISTRY_HTTP_ADDR: host, OTEL_TRACES_EXPORTER: "none" });
  await again(async () => fetch(`http://${host}/v2/`));
  const stop = () => {
    child.kill("SIGKILL");
    rmSync(storage, { recursive: true });
  };
  return { host, stop };
}

/** The names of all images of a service. */
async function namesOf(url) {
  const { repositories } = await (await fetch(`${url}/v2/_catalog`)).json();
  return repositories.flatMap((repository) => images.map((tag) => `${repository}:${tag}`));
}

function start([command, ...args], env) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"], env: { ...process.env, ...env } });
  child.stdout.resume(); // a full pipe would stop it
  children.push(child);
  return child;
}

/** Runs a program to its end. Looks at its memory and its time again and again: both are gone with the process. */
async function run([command, ...args], env) {
  const started = performance.now();
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, ...env } });
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
  if (code !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${code}: ${output}`);
  return { seconds: (performance.now() - started) / 1000, ...figures };
}

async function freePort() {
  const server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

async function again(act) {
  for (let tries = 0; ; tries++) {
    try {
      return await act();
    } catch (error) {
      if (tries === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

function findTool(name) {
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

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}

function describe(name, { seconds, cpuSeconds, peakMiB }) {
  return `${name.padEnd(8)} ${seconds.toFixed(2)} s  CPU ${cpuSeconds.toFixed(2)} s  peak ${peakMiB.toFixed(0)} MiB`;
}
