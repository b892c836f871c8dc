// The clients of one kind, each one request after the other until the time has come: a thread of ../crowd.mjs.
import { createHash, randomBytes } from "node:crypto";
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { pack as createPack } from "tar-stream";

const { kind, url, clients, ends } = workerData;
const manifestType = "application/vnd.oci.image.manifest.v1+json";
const kibibyte = 1024;
const tagsOfAClient = 4;
/** What refuses a request that did nothing wrong, and is documented: "Errors" in docs/using.md. */
const documented = ["TOOMANYREQUESTS", "COMMIT_CONFLICT"];
/** Layers that many images share. */
const shared = Array.from({ length: 8 }, () => blobOf(randomBytes(1024 * kibibyte)));

const times = {};
const refused = {};
const errors = [];
/** By image, the digest that was acknowledged last. */
const images = {};

const act = { loads: load, pushes: push, pulls: pull }[kind];
await Promise.all(Array.from({ length: clients }, (_, client) => runClient(client)));
parentPort.postMessage({ times, refused, errors, images });

async function runClient(client) {
  for (let round = 0; Date.now() < ends; round++) {
    try {
      await act(client, round);
    } catch (error) {
      errors.push(`${kind}: ${error.cause?.message ?? error.message}`);
      await sleep(1000);
    }
  }
}

/** One client in eight writes into a repository that it shares with others, so that they race for its index. */
function imageOf(client, round) {
  const name = client % 8 === 0 ? `crowd/${kind}` : `crowd/${kind}-${client}`;
  return { name, tag: `${client}-${round % tagsOfAClient}` };
}

async function load(client, round) {
  const { name, tag } = imageOf(client, round);
  const { blobs, manifest } = makeImage(round);
  const tarball = await tarballOf([...blobs, manifest]);
  const answer = await ask("load", `/v1/load/${name}:${tag}`, { method: "PUT", body: tarball });
  if (answer !== undefined) images[`${name}:${tag}`] = manifest.digest;
}

async function push(client, round) {
  const { name, tag } = imageOf(client, round);
  const { blobs, manifest } = makeImage(round);
  for (const { digest, bytes } of blobs) {
    const found = await ask("blob HEAD", `/v2/${name}/blobs/${digest}`, { method: "HEAD" }, [404]);
    if (found?.status === 200) continue;
    const session = await ask("upload POST", `/v2/${name}/blobs/uploads/`, { method: "POST" });
    if (session === undefined) return;
    const location = new URL(session.headers.get("Location"), url);
    const options = { method: "PATCH", body: bytes, headers: { "Content-Type": "application/octet-stream" } };
    const sent = await ask("upload PATCH", location.pathname + location.search, options);
    if (sent === undefined) return;
    const next = new URL(sent.headers.get("Location"), url);
    next.searchParams.set("digest", digest);
    if ((await ask("upload PUT", next.pathname + next.search, { method: "PUT" })) === undefined) return;
  }
  const options = { method: "PUT", body: manifest.bytes, headers: { "Content-Type": manifestType } };
  const answer = await ask("manifest PUT", `/v2/${name}/manifests/${tag}`, options);
  if (answer !== undefined) images[`${name}:${tag}`] = manifest.digest;
}

/** Pulls an image of a random writer, and checks each byte. Its tag may not be there yet, or have moved meanwhile. */
async function pull() {
  const writers = Math.random() < 0.5 ? "loads" : "pushes";
  const client = Math.floor(Math.random() * clients);
  const name = client % 8 === 0 ? `crowd/${writers}` : `crowd/${writers}-${client}`;
  const path = `/v2/${name}/manifests/${client}-${Math.floor(Math.random() * tagsOfAClient)}`;
  const answer = await ask("manifest GET", path, { headers: { Accept: manifestType } }, [404]);
  if (answer?.status !== 200) return sleep(100);
  check(path, answer.headers.get("Docker-Content-Digest"), answer.bytes);
  const { config, layers } = JSON.parse(answer.bytes);
  for (const { digest } of [config, ...layers]) {
    const blob = await ask("blob GET", `/v2/${name}/blobs/${digest}`, {});
    if (blob !== undefined) check(digest, digest, blob.bytes);
  }
}

/** The answer and its bytes; nothing if it is a refusal that is documented. Waits after one, as it asks for. */
async function ask(request, path, options, alsoFine = []) {
  const began = performance.now();
  const answer = await fetch(url + path, options);
  const bytes = Buffer.from(await answer.arrayBuffer());
  (times[request] ??= []).push(performance.now() - began);
  if (answer.ok || alsoFine.includes(answer.status)) return { status: answer.status, headers: answer.headers, bytes };
  const code = codeOf(bytes);
  const retryAfter = Number(answer.headers.get("Retry-After"));
  if (!documented.includes(code) || !(retryAfter > 0)) {
    errors.push(`${request} ${path}: ${answer.status} ${bytes.toString().slice(0, 300)}`);
  }
  const counts = (refused[request] ??= {});
  counts[code] = (counts[code] ?? 0) + 1;
  await sleep(Math.min(retryAfter || 1, 10) * 1000);
  return undefined;
}

function codeOf(bytes) {
  try {
    return JSON.parse(bytes).errors[0].code;
  } catch {
    return "none";
  }
}

function check(what, digest, bytes) {
  const found = digestOf(bytes);
  if (found !== digest) errors.push(`${what} has the bytes of ${found}`);
}

/** An image of two new layers and one that others have too. */
function makeImage(round) {
  const layers = [blobOf(randomBytes(64 * kibibyte)), blobOf(randomBytes(8 * kibibyte)), shared[round % shared.length]];
  const config = blobOf(
    Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers" } })),
  );
  const describe = (mediaType, { digest, bytes }) => ({ mediaType, digest, size: bytes.length });
  const manifest = {
    schemaVersion: 2,
    mediaType: manifestType,
    config: describe("application/vnd.oci.image.config.v1+json", config),
    layers: layers.map((layer) => describe("application/vnd.oci.image.layer.v1.tar", layer)),
  };
  return { blobs: [...layers, config], manifest: blobOf(Buffer.from(JSON.stringify(manifest))) };
}

function tarballOf(blobs) {
  const pack = createPack();
  const root = blobs.at(-1);
  for (const { digest, bytes } of blobs) pack.entry({ name: `blobs/sha256/${digest.slice(7)}` }, bytes);
  const manifests = [{ mediaType: manifestType, digest: root.digest, size: root.bytes.length }];
  pack.entry({ name: "oci-layout" }, JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  pack.entry({ name: "index.json" }, JSON.stringify({ schemaVersion: 2, manifests }));
  pack.finalize();
  return buffer(pack);
}

function blobOf(bytes) {
  return { digest: digestOf(bytes), bytes };
}

function digestOf(bytes) {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
