/**
 * A process whose clients race to publish in one store: each loads its image under a tag of its own, and then under one that
 * all want. They begin once something comes by standard input; a line of JSON tells of each load that was acknowledged.
 *
 *     node race-child.mjs <dist> <store's URL> <clients as JSON>
 *
 * Plain JavaScript, so that every Node runs it as it is.
 */
/* oxlint-disable typescript/no-unsafe-argument, typescript/no-unsafe-assignment, typescript/no-unsafe-call,
   typescript/no-unsafe-member-access, typescript/no-unsafe-return */
import { createReadStream, writeSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , dist, url, clientsJson] = process.argv;
const load = (path) => import(pathToFileURL(`${dist}/${path}`).href);
const { openStore } = await load("open-store.js");
const { Layout } = await load("layout/layout.js");
const { loadArchive } = await load("load/load-archive.js");
const { ForwardingStore } = await load("storage/forwarding-store.js");

/** Counts the rounds of a commit, the lone try among them, how often it tries to write the index, and sends its intent. */
class WatchedStore extends ForwardingStore {
  rounds = 0;
  writes = 0;
  timesSent = new Map();
  #isCombining = false;
  #isInRound = false;

  /** A round begins with a look at the index. Another look belongs to it after intents were read, or a merge was lost. */
  get(key, options) {
    if (isIntent(key)) this.#isInRound = true;
    if (isIndex(key)) {
      if (!this.#isInRound) this.rounds += 1;
      this.#isInRound = false;
    }
    return super.get(key, options);
  }

  /** How often an intent was sent again. One that is stale is followed by another, which is none of these. */
  get intentsSentAgain() {
    return [...this.timesSent.values()].filter((times) => times > 1).length;
  }

  put(key, ...rest) {
    if (isIntent(key)) {
      this.#isCombining = true;
      this.timesSent.set(key, (this.timesSent.get(key) ?? 0) + 1);
    }
    if (isIndex(key)) {
      this.writes += 1;
      this.#isInRound = this.#isCombining;
    }
    return super.put(key, ...rest);
  }
}

const isIndex = (key) => key.endsWith("/index.json");
const isIntent = (key) => key.startsWith("intents/");

const clients = await Promise.all(
  JSON.parse(clientsJson).map(async (client) => ({ ...client, store: await openStore(url, process.env) })),
);
say({ ready: true });
await new Promise((resolve) => process.stdin.once("data", resolve)); // all begin at once
await Promise.all(clients.map(race));
process.exit();

async function race({ store, tarball, tags }) {
  for (const tag of tags) {
    const watched = new WatchedStore(store);
    try {
      const source = createReadStream(tarball);
      const { images, requests } = await loadArchive(Layout.open(watched), source, { name: `race/app:${tag}` });
      const [{ digest, status, previous }] = images;
      const { rounds, writes, intentsSentAgain } = watched;
      say({ tag, digest, status, previous, rounds, writes, intentsSentAgain, requests });
    } catch (error) {
      say({ tag, failed: `${error.code}: ${error.message}` });
    }
  }
}

/** At once, so that a process that is killed after it has spoken was heard. */
function say(json) {
  writeSync(1, `${JSON.stringify(json)}\n`);
}
