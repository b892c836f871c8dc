// How the time of a commit, a pull and a listing grows with the tags of a repository, and the memory of a crowd. See README.md.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { commitSet } from "../dist/layout/commit-set.js";
import { Layout } from "../dist/layout/layout.js";
import { openStore } from "../dist/open-store.js";
import { listening, median, peakMiBOf, print } from "./measuring.mjs";

const { values } = parseArgs({
  options: {
    store: { type: "string" },
    tags: { type: "string", default: "100,1000,10000,100000" },
    rounds: { type: "string", default: "7" },
    crowd: { type: "string", default: "20" },
  },
});
const rounds = Number(values.rounds);
const crowd = Number(values.crowd);

const here = new URL(".", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "stowage-bench-"));
const storeUrl = values.store ?? `file:${join(folder, "store")}`;
const tarballs = new Map();
try {
  print("| tags | index MiB | commit ms | pull ms | first page ms | all pages ms | peak MiB | … of a crowd |");
  print("| --- | --- | --- | --- | --- | --- | --- | --- |");
  for (const tags of values.tags.split(",").map(Number)) print(`| ${(await measure(tags)).join(" | ")} |`);
} finally {
  rmSync(folder, { recursive: true });
}

async function measure(tags) {
  const repository = `bench/of-${tags}`;
  const { indexBytes } = await fill(repository, tags);
  const times = { commit: [], pull: [], page: [], pages: [] };
  const alone = await withService(async (url) => {
    for (let round = 0; round <= rounds; round++) {
      const took = {
        commit: await timed(() => load(url, `${repository}:new-${round}-${process.pid}`, round)),
        pull: await timed(() => fetchAll(`${url}/v2/${repository}/manifests/v000050`)),
        page: await timed(() => fetchAll(`${url}/v2/${repository}/tags/list`)),
        pages: await timed(() => listAll(url, repository)),
      };
      if (round > 0) for (const [name, ms] of Object.entries(took)) times[name].push(ms); // the first compiles the code
    }
  });
  const together = await withService(async (url) => {
    const each = Array.from({ length: crowd }, (_, i) => i);
    await Promise.all(each.map((i) => load(url, `${repository}:crowd-${i}-${process.pid}`, i)));
    await Promise.all(each.map(() => fetchAll(`${url}/v2/${repository}/manifests/v000050`)));
    await Promise.all(each.map(() => fetchAll(`${url}/v2/${repository}/tags/list`)));
    await Promise.all(
      each.flatMap((i) => [load(url, `${repository}:mixed-${i}-${process.pid}`, i), listAll(url, repository)]),
    );
  });
  const ms = Object.values(times).map((list) => median(list).toFixed(0));
  return [tags, (indexBytes / 2 ** 20).toFixed(1), ...ms, alone.peakMiB.toFixed(0), together.peakMiB.toFixed(0)];
}

/** Makes the repository with so many tags, all at one image that is in the store, by a process of its own. */
async function fill(repository, tags) {
  const { answer: receipt } = await withService((url) => load(url, `${repository}:v000000`, 0));
  const { mediaType, digest, size } = receipt.images[0];
  const store = await openStore(storeUrl, process.env);
  const changes = Array.from({ length: tags }, (_, i) => ({
    op: "set",
    tag: `v${String(i).padStart(6, "0")}`,
    mediaType,
    digest,
    size,
  }));
  await commitSet(Layout.open(store), { repository, changes });
  const index = await store.head(`repositories/${repository}/_layout/index.json`);
  return { indexBytes: index.size };
}

/** Starts a service, uses it, and returns what came of that and the most memory that the service had. */
async function withService(use) {
  const command = [join(here, "../dist/cli/stowage.js"), "serve", "--store", storeUrl, "--port", "0"];
  const service = spawn(process.execPath, command, { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const answer = await use(await listening(service));
    return { answer, peakMiB: peakMiBOf(service.pid) };
  } finally {
    service.kill("SIGKILL");
    await once(service, "exit");
  }
}

async function load(url, name, label) {
  const response = await fetch(`${url}/v1/load/${name}`, { method: "PUT", body: tarball(label) });
  if (!response.ok) throw new Error(`load of ${name}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** A docker-archive of an image without layers, made by tar; another image for each label. */
function tarball(label) {
  const made = tarballs.get(label) ?? makeTarball(label);
  tarballs.set(label, made);
  return made;
}

function makeTarball(label) {
  const rootfs = { type: "layers", diff_ids: [] };
  const config = { architecture: "amd64", os: "linux", config: { Labels: { label: String(label) } }, rootfs };
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  writeFileSync(join(folder, "manifest.json"), JSON.stringify([{ Config: "config.json", RepoTags: null, Layers: [] }]));
  return execFileSync("tar", ["-C", folder, "-cf", "-", "config.json", "manifest.json"]);
}

async function fetchAll(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`GET ${url}: ${response.status}`);
  await response.arrayBuffer();
  return response.headers.get("Link");
}

async function listAll(url, repository) {
  let next = `/v2/${repository}/tags/list`;
  while (next !== undefined) next = /<(.+)>/.exec((await fetchAll(url + next)) ?? "")?.[1];
}

async function timed(work) {
  const started = performance.now();
  await work();
  return performance.now() - started;
}
