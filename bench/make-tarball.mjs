// Makes tarballs of images whose bytes nobody can compress: as a file, or as a stream of any size.
import { createHash, randomFillSync } from "node:crypto";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { pack as createPack } from "tar-stream";

export const mebibyte = 1024 * 1024;
const manifestType = "application/vnd.oci.image.manifest.v1+json";
const layerType = "application/vnd.oci.image.layer.v1.tar";
const noise = randomFillSync(Buffer.alloc(mebibyte));

/** A shape: the bytes of each layer, and for each image the numbers of its layers. */
export function oneImage({ largeMiB, smallLayers }) {
  const layers = [...(largeMiB > 0 ? [largeMiB * mebibyte] : []), ...Array(smallLayers).fill(mebibyte)];
  return { layers, images: [layers.map((_, number) => number)] };
}

/** Writes a tarball of this shape into a file. */
export async function makeTarball(path, shape) {
  await pipeline(packTarball(describeLayers(shape)), createWriteStream(path));
}

/** Hashes the layers, so that the tarball can be made while it is sent. Shapes with different seeds share no layer. */
export function describeLayers({ layers, images, seed = 0 }) {
  const descriptors = layers.map((size, number) => {
    const hash = createHash("sha256");
    for (const chunk of bytesOf(size, number, seed)) hash.update(chunk);
    return { mediaType: layerType, digest: `sha256:${hash.digest("hex")}`, size };
  });
  return { descriptors, images, seed };
}

/** The tarball, as a stream. Several images have the tags `v0`, `v1` and so on; one image has no name. */
export function packTarball({ descriptors, images, seed }) {
  const pack = createPack();
  const write = async () => {
    for (const [number, descriptor] of descriptors.entries()) {
      const entry = pack.entry({ name: blobPath(descriptor), size: descriptor.size });
      for (const chunk of bytesOf(descriptor.size, number, seed)) {
        if (!entry.write(Buffer.from(chunk))) await once(entry, "drain");
      }
      entry.end();
      await once(entry, "finish");
    }
    const manifests = images.map((numbers, image) => {
      const layers = numbers.map((number) => descriptors[number]);
      const rootfs = { type: "layers", diff_ids: layers.map(({ digest }) => digest) };
      const labels = { image: `${seed}-${image}` };
      const config = { architecture: "amd64", os: "linux", config: { Labels: labels }, rootfs };
      const manifest = {
        schemaVersion: 2,
        mediaType: manifestType,
        config: addJson(pack, "application/vnd.oci.image.config.v1+json", config),
        layers,
      };
      const descriptor = addJson(pack, manifestType, manifest);
      if (images.length === 1) return descriptor;
      return { ...descriptor, annotations: { "org.opencontainers.image.ref.name": `v${image}` } };
    });
    pack.entry({ name: "oci-layout" }, '{"imageLayoutVersion":"1.0.0"}');
    pack.entry({ name: "index.json" }, JSON.stringify({ schemaVersion: 2, manifests }));
    pack.finalize();
  };
  write().catch((error) => pack.destroy(error));
  return pack;
}

/** The same mebibyte again and again; its first bytes are the seed and the numbers of the layer and of the repetition. */
function* bytesOf(size, layer, seed) {
  for (let at = 0, i = 0; at < size; at += mebibyte, i++) {
    noise.writeUInt32LE(layer, 0);
    noise.writeUInt32LE(i, 4);
    noise.writeUInt32LE(seed, 8);
    yield noise.subarray(0, Math.min(mebibyte, size - at));
  }
}

function addJson(pack, mediaType, json) {
  const bytes = Buffer.from(JSON.stringify(json));
  const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  const descriptor = { mediaType, digest, size: bytes.length };
  pack.entry({ name: blobPath(descriptor) }, bytes);
  return descriptor;
}

function blobPath({ digest }) {
  return `blobs/${digest.replace(":", "/")}`;
}
