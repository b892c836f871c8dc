// Writes an image layout of many blobs that nobody can compress: a directory that Stowage and other tools read.
import { createHash, randomFillSync } from "node:crypto";
import { createWriteStream, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

const mebibyte = 1024 * 1024;
const manifestType = "application/vnd.oci.image.manifest.v1+json";
const layerType = "application/vnd.oci.image.layer.v1.tar";

/** The images have the tags `v0`, `v1` and so on, and the same number of layers each. All layers have the same size. */
export async function makeLayout(folder, { mib, blobs, images }) {
  mkdirSync(join(folder, "blobs/sha256"), { recursive: true });
  const pathOf = (digest) => join(folder, "blobs", digest.replace(":", "/"));
  const add = (bytes, mediaType) => {
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    writeFileSync(pathOf(digest), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const size = Math.floor((mib * mebibyte) / blobs);
  const chunk = randomFillSync(Buffer.alloc(Math.min(mebibyte, size)));
  const manifests = [];
  for (let image = 0; image < images; image++) {
    const layers = [];
    for (let layer = image; layer < blobs; layer += images) {
      const hash = createHash("sha256");
      const temporary = join(folder, "layer");
      async function* bytes() {
        for (let at = 0; at < size; at += chunk.length) {
          const part = Buffer.from(chunk.subarray(0, Math.min(chunk.length, size - at)));
          part.writeUInt32LE(layer, 0);
          part.writeUInt32LE(at / chunk.length, 4);
          hash.update(part);
          yield part;
        }
      }
      await pipeline(bytes(), createWriteStream(temporary));
      const digest = `sha256:${hash.digest("hex")}`;
      renameSync(temporary, pathOf(digest));
      layers.push({ mediaType: layerType, digest, size });
    }
    const diffIds = layers.map(({ digest }) => digest);
    const config = { architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: diffIds } };
    const configType = "application/vnd.oci.image.config.v1+json";
    const manifest = {
      schemaVersion: 2,
      mediaType: manifestType,
      config: add(Buffer.from(JSON.stringify(config)), configType),
      layers,
    };
    const annotations = { "org.opencontainers.image.ref.name": `v${image}` };
    manifests.push({ ...add(Buffer.from(JSON.stringify(manifest)), manifestType), annotations });
  }
  writeFileSync(join(folder, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(folder, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
}
