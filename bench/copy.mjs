// Copies images by `stowage copy`, by rclone and by skopeo, and compares them. See README.md.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeLayout } from "./make-layout.mjs";
import { listening, median, print } from "./measuring.mjs";
import { bucket, endAll, findTool, run, secrets, start, startGateway, startRegistry } from "./programs.mjs";

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

const program = new URL("../dist/cli/stowage.js", import.meta.url).pathname;
const images = Array.from({ length: Number(values.images) }, (_, i) => `v${i}`);

const folder = mkdtempSync(join(values.folder, "stowage-bench-"));
try {
  const [mib, blobs] = [Number(values.mib), Number(values.blobs)];
  print(`node ${process.version}, ${cpus().length} cores; ${mib} MiB in ${blobs} blobs of ${images.length} images`);
  const layout = join(folder, "layout");
  await makeLayout(layout, { mib, blobs, images: images.length });
  if (values.only.includes("server")) await compareServerCopies(layout);
  if (values.only.includes("streamed")) await compareStreams(layout);
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}

/** Between two prefixes of one bucket: the server copies. */
async function compareServerCopies(layout) {
  const gateway = await startServer("server");
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
  const gateway = await startServer("streamed");
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
          const storage = join(folder, `registry-${round}`);
          const target = await startRegistry(registry, `${storage}.yml`, { filesystem: { rootdirectory: storage } });
          const { host } = new URL(url);
          const flags = ["--quiet", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"];
          const results = [];
          const names = await namesOf(url);
          for (const name of names) {
            const ends = [`docker://${host}/${name}`, `docker://${target.host}/${name}`];
            results.push(await run([skopeo, "copy", ...flags, ...ends], {}));
          }
          target.child.kill("SIGKILL");
          rmSync(storage, { recursive: true });
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

/** An S3 server, and a way to fill one of its prefixes. */
async function startServer(name) {
  const gateway = await startGateway(join(folder, name));
  return {
    ...gateway,
    rcloneEnv: {
      RCLONE_CONFIG: join(folder, "none.conf"),
      RCLONE_CONFIG_B_TYPE: "s3",
      RCLONE_CONFIG_B_PROVIDER: "Other",
      RCLONE_CONFIG_B_ENDPOINT: gateway.endpoint,
      RCLONE_CONFIG_B_REGION: "us-east-1",
      RCLONE_CONFIG_B_ACCESS_KEY_ID: secrets.AWS_ACCESS_KEY_ID,
      RCLONE_CONFIG_B_SECRET_ACCESS_KEY: secrets.AWS_SECRET_ACCESS_KEY,
    },
    /** Runs a program that fills a prefix, checks that it has every blob, and removes the prefix. */
    async measured(prefix, command, env) {
      try {
        const result = await run(command, env);
        const blobs = readdirSync(join(gateway.folderOf(prefix), "blobs/sha256")).length;
        const expected = Number(values.blobs) + 2 * images.length;
        if (blobs !== expected) throw new Error(`found ${blobs} blobs, expected ${expected}`);
        return result;
      } finally {
        gateway.removePrefix(prefix);
      }
    },
  };
}

/** The names of all images of a service. */
async function namesOf(url) {
  const { repositories } = await (await fetch(`${url}/v2/_catalog`)).json();
  return repositories.flatMap((repository) => images.map((tag) => `${repository}:${tag}`));
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}

function describe(name, { seconds, cpuSeconds, peakMiB }) {
  return `${name.padEnd(8)} ${seconds.toFixed(2)} s  CPU ${cpuSeconds.toFixed(2)} s  peak ${peakMiB.toFixed(0)} MiB`;
}
