// Writes the tarball of an image with one large layer and many small ones, of bytes that nobody can compress.
import { createHash, randomFillSync } from "node:crypto";
import { createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { pack as createPack } from "tar-stream";

const mebibyte = 1024 * 1024;
const manifestType = "application/vnd.oci.image.manifest.v1+json";
const layerType = "application/vnd.oci.image.layer.v1.tar";

/** Each layer is one random mebibyte again and again, its first bytes the number of the layer and of the repetition. */
export async function makeTarball(path, { largeMiB, smallLayers }) {
  const pack = createPack();
  const written = pipeline(pack, createWriteStream(path));
  const chunk = randomFillSync(Buffer.alloc(mebibyte));
  const layers = [];
  for (let layer = 0; layer <= smallLayers; layer++) {
    const count = layer === 0 ? largeMiB : 1;
    const number = (i) => (chunk.writeUInt32LE(layer, 0), chunk.writeUInt32LE(i, 4), chunk);
    const hash = createHash("sha256");
    for (let i = 0; i < count; i++) hash.update(number(i));
    const descriptor = { mediaType: layerType, digest: `sha256:${hash.digest("hex")}`, size: count * mebibyte };
    layers.push(descriptor);
    const entry = pack.entry({ name: blobPath(descriptor), size: descriptor.size });
    for (let i = 0; i < count; i++) {
      if (!entry.write(Buffer.from(number(i)))) await new Promise((resolve) => entry.once("drain", resolve));
    }
    entry.end();
    await new Promise((resolve) => entry.once("finish", resolve));
  }
  const config = addJson(pack, "application/vnd.oci.image.config.v1+json", {
    architecture: "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: layers.map(({ digest }) => digest) },
  });
  const manifest = addJson(pack, manifestType, { schemaVersion: 2, mediaType: manifestType, config, layers });
  pack.entry({ name: "oci-layout" }, '{"imageLayoutVersion":"1.0.0"}');
  pack.entry({ name: "index.json" }, JSON.stringify({ schemaVersion: 2, manifests: [manifest] }));
  pack.finalize();
  await written;
}

function addJson(pack, mediaType, json) {
  const bytes = Buffer.from(JSON.stringify(json));
  const descriptor = {
    mediaType,
    digest: `sha256:${createHash("sha256").update(bytes).digest("hex")}`,
    size: bytes.length,
  };
  pack.entry({ name: blobPath(descriptor) }, bytes);
  return descriptor;
}

function blobPath({ digest }) {
  return `blobs/${digest.replace(":", "/")}`;
}
