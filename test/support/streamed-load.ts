/** A tarball of one image with one large layer, made as it is sent. */
import { createHash } from "node:crypto";
import { sha256 } from "./bytes.ts";
import { types } from "./layout.ts";
import { ustarHeader } from "./ustar-header.ts";

const mebibyte = 1024 * 1024;

export interface StreamedLoad {
  readonly size: number;
  readonly layerDigest: string;
  readonly body: () => AsyncGenerator<Buffer>;
}

/** `text` fills the layer: loads with different texts have no blob in common. */
export function streamedLoad(text: string, layerMebibytes: number): StreamedLoad {
  const block = Buffer.alloc(mebibyte, text);
  const hash = createHash("sha256");
  for (let i = 0; i < layerMebibytes; i++) hash.update(block);
  const layerDigest = `sha256:${hash.digest("hex")}`;
  const layerBytes = layerMebibytes * mebibyte;
  const config = Buffer.from(JSON.stringify({ text }));
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: types.manifest,
      config: { mediaType: types.config, digest: sha256(config), size: config.length },
      layers: [{ mediaType: types.layer, digest: layerDigest, size: layerBytes }],
    }),
  );
  const root = { mediaType: types.manifest, digest: sha256(manifest), size: manifest.length };
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [root] }));
  const before = ustarHeader(blobPath(layerDigest), layerBytes);
  const after = Buffer.concat([
    entry(blobPath(sha256(config)), config),
    entry(blobPath(root.digest), manifest),
    entry("index.json", index),
    Buffer.alloc(1024),
  ]);
  return {
    size: before.length + layerBytes + after.length,
    layerDigest,
    async *body() {
      yield before;
      for (let i = 0; i < layerMebibytes; i++) yield block;
      yield after;
    },
  };
}

function entry(name: string, bytes: Buffer): Buffer {
  return Buffer.concat([ustarHeader(name, bytes.length), bytes, Buffer.alloc(-bytes.length & 511)]);
}

function blobPath(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}
