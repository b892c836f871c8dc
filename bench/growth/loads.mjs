// How time and memory of loads grow: with the size of a layer, the number of blobs, and the number of loads at once.
import { once } from "node:events";
import { describeLayers, mebibyte, oneImage, packTarball } from "../make-tarball.mjs";
import { figuresOf } from "../measuring.mjs";
import { send } from "./send.mjs";

const layersOfAnImage = 100;

/** One layer of this many GiB, made while it is sent. */
export async function measureSize(gibibytes, open) {
  const shape = oneImage({ largeMiB: Math.ceil(gibibytes * 1024), smallLayers: 0 });
  return measureLoads([shape], open);
}

/** Blobs of 1 KiB, a hundred in each image: layers, and for each image a config and a manifest. */
export async function measureBlobs(blobs, open) {
  const count = Math.ceil(blobs / (layersOfAnImage + 2));
  const layers = Array(count * layersOfAnImage).fill(1024);
  const images = Array.from({ length: count }, (_, image) =>
    Array.from({ length: layersOfAnImage }, (_, layer) => image * layersOfAnImage + layer),
  );
  return measureLoads([{ layers, images }], open);
}

/** Loads of 16 MiB each, which begin together, into a repository each. */
export async function measureCrowd(loads, open) {
  const layers = [8, 4, 2, 1, 1].map((size) => size * mebibyte);
  const images = [layers.map((_, number) => number)];
  return measureLoads(
    Array.from({ length: loads }, (_, i) => ({ layers, images, seed: i + 2 })),
    open,
  );
}

/** Layers are hashed before the time begins. A fresh service loads a small tarball first. */
async function measureLoads(shapes, open) {
  const described = shapes.map(describeLayers);
  const { store, service, stop } = await open();
  const { url, child } = service;
  try {
    const warmUp = describeLayers({ ...oneImage({ largeMiB: 32, smallLayers: 16 }), seed: 1 });
    await send(`${url}/v1/load/warm:1`, () => packTarball(warmUp));
    const before = { cpuSeconds: figuresOf(child.pid).cpuSeconds, requests: await store.requests() };
    const started = performance.now();
    const loads = described.map(async (each, i) => {
      const tag = each.images.length > 1 ? "" : ":1";
      return send(`${url}/v1/load/bench-${i}${tag}`, () => packTarball(each));
    });
    const refused = (await Promise.all(loads)).reduce((sum, load) => sum + load.refused, 0);
    const seconds = (performance.now() - started) / 1000;
    const { cpuSeconds, peakMiB } = figuresOf(child.pid);
    const requests = (await store.requests()) - before.requests;
    return { seconds, cpuSeconds: cpuSeconds - before.cpuSeconds, peakMiB, requests, refused };
  } finally {
    child.kill("SIGKILL");
    await once(child, "exit");
    stop();
  }
}
