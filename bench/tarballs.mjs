// The tarballs of the bench, each made once, and unpacked once for the programs that want a folder.
import { execFileSync } from "node:child_process";
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { makeTarball, mebibyte, oneImage } from "./make-tarball.mjs";

/** `shape` gets a function that makes a number as small as the bench was told to. */
export const tarballs = {
  single: { title: "700 MiB in one layer", shape: (scaled) => oneImage({ largeMiB: scaled(700), smallLayers: 0 }) },
  gib: { title: "1 GiB in one layer", shape: (scaled) => oneImage({ largeMiB: scaled(1024), smallLayers: 0 }) },
  mixed: {
    title: "1 GiB: 700 MiB in one layer and 324 layers of 1 MiB",
    shape: (scaled) => oneImage({ largeMiB: scaled(700), smallLayers: scaled(324) }),
  },
  three: {
    title: "1.14 GiB in three layers",
    shape: (scaled) => ({ layers: Array(3).fill(scaled(389) * mebibyte), images: [[0, 1, 2]] }),
  },
  images: { title: "300 images of 5 MiB that share layers, 333 MiB in all", shape: sharingImages },
  blobs: {
    title: "2,000 layers of 64 KiB",
    shape: (scaled) => {
      const layers = Array(scaled(2000)).fill(mebibyte / 16);
      return { layers, images: [layers.map((_, number) => number)] };
    },
  },
  again: {
    title: "A second load of 1 GiB: 700 MiB in one layer and 324 layers of 1 MiB",
    isSecondLoad: true,
    shape: (scaled) => oneImage({ largeMiB: scaled(700), smallLayers: scaled(324) }),
  },
};

/** What a service loads before it is measured, so that its JavaScript is compiled. No other tarball has one of these blobs. */
const warmUps = {
  "warm-up": { ...oneImage({ largeMiB: 32, smallLayers: 16 }), seed: 1 },
  "warm-up of a program": { ...oneImage({ largeMiB: 1, smallLayers: 0 }), seed: 1 },
};

/** Makes tarballs in this folder when they are first asked for. */
export function tarballMaker(folder, scale) {
  const made = new Map();
  const scaled = (number) => Math.max(1, Math.round(number * scale));
  return async (name) => {
    if (!made.has(name)) {
      const shape = warmUps[name] ?? tarballs[name].shape(scaled);
      const path = join(folder, `${name}.tar`);
      await makeTarball(path, shape);
      let unpacked;
      made.set(name, {
        name,
        path,
        bytes: statSync(path).size,
        images: shape.images.length,
        layout: () => (unpacked ??= unpack(path, join(folder, name))),
      });
    }
    return made.get(name);
  };
}

/** Three layers each: 3 MiB that all share, 1 MiB that ten share, and 1 MiB of its own. */
function sharingImages(scaled) {
  const count = scaled(300);
  const shared = Math.ceil(count / 10);
  return {
    layers: [3 * mebibyte, ...Array(shared + count).fill(mebibyte)],
    images: Array.from({ length: count }, (_, i) => [0, 1 + Math.floor(i / 10), 1 + shared + i]),
  };
}

function unpack(tarball, folder) {
  mkdirSync(folder);
  execFileSync("tar", ["-xf", tarball, "-C", folder]);
  return folder;
}
