/**
 * A process that shares a directory store with others. It begins its task once something comes by standard input, and
 * prints a line of JSON for everything that the store has acknowledged.
 *
 *     node directory-child.mjs <directory-store.js> <root> <task as JSON>
 *
 * Plain JavaScript, so that every Node runs it as it is.
 */
/* oxlint-disable typescript/no-unsafe-argument, typescript/no-unsafe-call, typescript/no-unsafe-member-access,
   typescript/no-unsafe-return */
import { createHash, randomBytes } from "node:crypto";
import { writeSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , modulePath, root, taskJson] = process.argv;
const { DirectoryStore } = await import(pathToFileURL(modulePath).href);
const store = new DirectoryStore(root);
const task = JSON.parse(taskJson);
const tasks = { create, increment, store: storeBlobs };

say({ ready: true });
await new Promise((resolve) => process.stdin.once("data", resolve)); // all begin at once
await tasks[task.name](task);
process.exit();

async function create({ key, id }) {
  const result = await store.put(key, encode({ winner: id }), { condition: "absent" });
  say({ won: result !== "conflict" });
}

/** Counts up `id` in an object that holds one count for each process. */
async function increment({ key, id, times }) {
  for (let done = 0; done < times;) {
    const object = await store.get(key);
    const counts = JSON.parse(await readText(object.body));
    const count = (counts[id] ?? 0) + 1;
    const condition = { etag: object.etag };
    const result = await store.put(key, encode({ ...counts, [id]: count }), { condition });
    if (result === "conflict") continue;
    done++;
    say({ count });
  }
}

/** Stores blobs, streamed and whole, until it is killed. */
async function storeBlobs() {
  for (;;) {
    const bytes = randomBytes(Math.floor(Math.random() * 2_000_000));
    const hex = createHash("sha256").update(bytes).digest("hex");
    const [key, condition] = [`blobs/sha256/${hex}`, "absent"];
    if (Math.random() < 0.2) await store.put(key, bytes, { condition });
    else await store.write(key, { size: bytes.length, body: inChunks(bytes) }, { condition });
    say({ digest: `sha256:${hex}` });
  }
}

async function* inChunks(bytes) {
  for (let start = 0; start < bytes.length; start += 50_000) yield bytes.subarray(start, start + 50_000);
}

async function readText(body) {
  const chunks = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

function encode(json) {
  return new TextEncoder().encode(JSON.stringify(json));
}

/** At once, so that a process that is killed after it has spoken was heard. */
function say(json) {
  writeSync(1, `${JSON.stringify(json)}\n`);
}
