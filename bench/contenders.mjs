// Who is measured. A contender has:
//
//     title        what the table calls it
//     missing()    why it cannot run here, or undefined
//     takes(…)     whether it can bring this tarball into this store
//     start(…)     starts its service, if it has one: { child, url }
//     warmUp       the tarball that its service loads first
//     command(…)   the program whose run is measured: { command, env }
//     manifest(…)  the URL of what its service must serve after that
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import process from "node:process";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { listening } from "./measuring.mjs";
import { bucket, findTool, secrets, start, startRegistryOnBucket } from "./programs.mjs";

const root = new URL("..", import.meta.url).pathname;
const stowageProgram = "dist/cli/stowage.js";
const permissions = ["--allow-net", "--allow-env", "--allow-sys", "--allow-read", "--allow-write"];
const wrangler = [join(root, "node_modules/wrangler/bin/wrangler.js"), "dev", "--ip", "127.0.0.1", "--port", "0"];
const curl = ["curl", "-sS", "--fail-with-body", "--noproxy", "*", "-o", "/dev/null"];

/** The builds are folders, each with a `dist` of Stowage in it. */
export function makeContenders(builds) {
  const serve = (folder) => [join(folder, stowageProgram), "serve"];
  const others = builds.map((folder) => [
    `build-${basename(resolve(folder))}`,
    stowageBy("node", serve(resolve(folder)), `the build in ${folder}`),
  ]);
  return {
    stowage: stowageBy("node", serve(root), `Stowage, Node ${process.versions.node}`),
    ...Object.fromEntries(others),
    node20: stowageBy("node20", serve(root), "Stowage, Node 20"),
    node22: stowageBy("node22", serve(root), "Stowage, Node 22"),
    node24: stowageBy("node24", serve(root), "Stowage, Node 24"),
    deno: stowageBy("deno", ["run", ...permissions, join(root, "src/runtimes/deno.ts")], "Stowage, Deno"),
    bun: stowageBy("bun", [join(root, "src/runtimes/bun.ts")], "Stowage, Bun"),
    workerd: stowageBy("node24", wrangler, "Stowage, workerd in `wrangler dev`"),
    straightforward: {
      ...loadedByCurl,
      title: "the straightforward build",
      missing: () => undefined,
      takes: (_, store) => !store.isDirectory,
      start: async (store) => {
        const child = start([process.execPath, join(root, "bench/straightforward.mjs")], store.env);
        return { child, url: await listening(child) };
      },
      manifest: undefined, // it stores blobs and serves nothing
    },
    crane: intoRegistry("crane", (tarball, host) => {
      const flags = tarball.images > 1 ? ["--index"] : [];
      return ["push", ...flags, tarball.layout(), `${host}/bench:1`];
    }),
    regctl: intoRegistry("regctl", (tarball, host) => {
      return ["--host", `reg=${host},tls=disabled`, "image", "import", `${host}/bench:1`, tarball.path];
    }),
    skopeo: intoRegistry("skopeo", (tarball, host) => {
      const flags = ["--quiet", "--dest-tls-verify=false"];
      return ["copy", ...flags, `oci-archive:${tarball.path}`, `docker://${host}/bench:1`];
    }),
    curl: {
      title: "`curl -T`: the tarball as one object",
      missing: () => undefined,
      takes: ({ isSecondLoad }, store) => !store.isDirectory && !isSecondLoad,
      command: async (tarball, { store, prefix }) => {
        const url = await presign(store, new PutObjectCommand({ Bucket: bucket, Key: `${prefix}/image.tar` }));
        return { command: [...curl, "-T", tarball.path, url] };
      },
    },
    aws: {
      title: "`aws s3 cp`: the tarball as one object",
      missing: () => missing("aws"),
      takes: ({ isSecondLoad }, store) => !store.isDirectory && !isSecondLoad,
      command: async (tarball, { store, prefix }) => {
        const flags = ["--only-show-errors", "--endpoint-url", store.endpoint];
        const ends = [tarball.path, `s3://${bucket}/${prefix}/image.tar`];
        return { command: [findTool("aws"), "s3", "cp", ...flags, ...ends], env: store.env };
      },
    },
    openssl: {
      title: "`openssl dgst -sha256` of the file",
      missing: () => missing("openssl"),
      takes: ({ isSecondLoad }) => isSecondLoad === true,
      command: async (tarball) => ({ command: [findTool("openssl"), "dgst", "-sha256", tarball.path] }),
    },
  };
}

const loadedByCurl = {
  warmUp: "warm-up",
  command: async (tarball, { url }) => {
    const name = tarball.images > 1 ? "bench" : "bench:1";
    return { command: [...curl, "-T", tarball.path, `${url}/v1/load/${name}`] };
  },
  manifest: (tarball, { url }) => `${url}/v2/bench/manifests/${tarball.images > 1 ? "v0" : "1"}`,
};

function stowageBy(tool, args, title) {
  const isWorker = args === wrangler;
  const program = () => (tool === "node" ? process.execPath : findTool(tool));
  const file = args.find((arg) => arg.startsWith("/"));
  return {
    ...loadedByCurl,
    title,
    isStowage: true,
    missing: () => (existsSync(file) ? program() === undefined && missing(tool) : `found no ${file}`) || undefined,
    takes: (_, store) => !(isWorker && store.isDirectory),
    start: async (store, prefix, limits = {}) => {
      const settings = {
        ...limits,
        HOST: "127.0.0.1",
        PORT: "0",
        STOWAGE_STORE: store.urlOf(prefix),
        STOWAGE_ALLOW_ANYONE: "true",
        ...store.env,
      };
      const variables = Object.entries(settings).flatMap(([name, value]) => ["--var", `${name}:${value}`]);
      const state = ["--inspector-port", "0", "--persist-to", join(store.folder, `wrangler-${prefix}`)];
      const child = spawn(program(), [...args, ...(isWorker ? [...state, ...variables] : [])], {
        cwd: root,
        stdio: ["ignore", "pipe", isWorker ? "ignore" : "inherit"],
        env: { ...process.env, ...settings, CI: "true", WRANGLER_SEND_METRICS: "false" },
      });
      return { child, url: await listening(child) };
    },
  };
}

/** A client that pushes into distribution's registry, which has the same bucket. */
function intoRegistry(tool, args) {
  return {
    title: `${{ crane: "`crane push`", regctl: "`regctl image import`", skopeo: "`skopeo copy`" }[tool]} into distribution`,
    missing: () => missing(tool) ?? missing("registry"),
    takes: ({ name }, store) => store.keeps && !store.isDirectory && (name !== "images" || tool === "crane"),
    start: async (store, prefix) => {
      const { child, host } = await startRegistryOnBucket(store.endpoint, prefix, store.folder, store.env.AWS_REGION);
      return { child, host, url: `http://${host}` };
    },
    command: async (tarball, { host, store }) => {
      const env = { REGCTL_CONFIG: join(store.folder, "regctl.json") };
      return { command: [findTool(tool), ...args(tarball, host)], env };
    },
    manifest: (_, { url }) => `${url}/v2/bench/manifests/1`,
    warmUp: "warm-up of a program",
  };
}

async function presign({ endpoint, env }, command) {
  const credentials = { accessKeyId: env.AWS_ACCESS_KEY_ID, secretAccessKey: env.AWS_SECRET_ACCESS_KEY };
  const client = new S3Client({
    endpoint,
    region: env.AWS_REGION,
    credentials,
    forcePathStyle: true,
    requestChecksumCalculation: "WHEN_REQUIRED",
  });
  return getSignedUrl(client, command, { expiresIn: 3600 });
}

function missing(tool) {
  return findTool(tool) === undefined ? `found no ${tool} in PATH` : undefined;
}
