// How the time of a commit, a pull and a listing grows with the tags of a repository, and the memory of a crowd.
import { once } from "node:events";
import { join } from "node:path";
import { updateRepository } from "../../dist/layout/update-repository.js";
import { Layout } from "../../dist/layout/layout.js";
import { openStore } from "../../dist/open-store.js";
import { figuresOf, listening, median } from "../measuring.mjs";
import { describeLayers, packTarball } from "../make-tarball.mjs";
import { start } from "../programs.mjs";
import { send } from "./send.mjs";

const program = new URL("../../dist/cli/stowage.js", import.meta.url).pathname;

/** A repository of its own for each number of tags. `crowd` loads, pulls and listings at once are measured as well. */
export async function measureTags(tags, { folder, storeUrl = `file:${join(folder, "tags")}`, rounds, crowd }) {
  const repository = `bench/of-${tags}`;
  const indexBytes = await fill(storeUrl, repository, tags);
  const times = { commitMs: [], pullMs: [], firstPageMs: [], allPagesMs: [] };
  const [pull, list] = [`/v2/${repository}/manifests/v000050`, `/v2/${repository}/tags/list`];
  const alone = await withService(storeUrl, async (url) => {
    for (let round = 0; round <= rounds; round++) {
      const took = {
        commitMs: await timed(() => load(url, `${repository}:new-${round}-${process.pid}`, round)),
        pullMs: await timed(() => fetchAll(url + pull)),
        firstPageMs: await timed(() => fetchAll(url + list)),
        allPagesMs: await timed(() => listAll(url, repository)),
      };
      if (round > 0) for (const [name, ms] of Object.entries(took)) times[name].push(ms); // the first compiles the code
    }
  });
  const together = await withService(storeUrl, async (url) => {
    const each = Array.from({ length: crowd }, (_, i) => i);
    await Promise.all(each.map((i) => load(url, `${repository}:crowd-${i}-${process.pid}`, i)));
    await Promise.all(each.map(() => fetchAll(url + pull)));
    await Promise.all(each.map(() => fetchAll(url + list)));
    await Promise.all(
      each.flatMap((i) => [load(url, `${repository}:mixed-${i}-${process.pid}`, i), listAll(url, repository)]),
    );
  });
  return {
    indexMiB: indexBytes / 2 ** 20,
    ...Object.fromEntries(Object.entries(times).map(([name, list]) => [name, median(list)])),
    peakMiB: alone.peakMiB,
    crowdPeakMiB: together.peakMiB,
  };
}

/** Makes the repository with this number of tags, all at one image that is in the store. Returns the bytes of its index. */
async function fill(storeUrl, repository, tags) {
  const { answer: receipt } = await withService(storeUrl, (url) => load(url, `${repository}:v000000`, 0));
  const { mediaType, digest, size } = receipt.images[0];
  const store = await openStore(storeUrl, process.env);
  const tagOf = (i) => `v${String(i).padStart(6, "0")}`;
  const changes = Array.from({ length: tags }, (_, i) => ({ op: "set", tag: tagOf(i), mediaType, digest, size }));
  await updateRepository(Layout.open(store), { repository, changes });
  return (await store.head(`repositories/${repository}/_layout/index.json`)).size;
}

/** Starts a service, uses it, and returns what came of that and the most memory that the service had. */
async function withService(storeUrl, use) {
  const service = start([process.execPath, program, "serve", "--store", storeUrl, "--port", "0"], {});
  try {
    const answer = await use(await listening(service));
    return { answer, peakMiB: figuresOf(service.pid).peakMiB };
  } finally {
    service.kill("SIGKILL");
    await once(service, "exit");
  }
}

/** Loads an image without layers; another image for each seed. */
async function load(url, name, seed) {
  const described = describeLayers({ layers: [], images: [[]], seed });
  return (await send(`${url}/v1/load/${name}`, () => packTarball(described))).receipt;
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
