/** Clients that load, push, delete and copy, and write down in ledgers what they were told. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Digest } from "../../src/digest.ts";
import { randomBytes } from "../support/bytes.ts";
import { type Layout, makeLayout, tarOf, types } from "../support/layout.ts";
import type { Ledger } from "./ledger.ts";

export type Action = "load" | "push" | "delete" | "copy";

export interface TrafficOptions {
  readonly ledger: Ledger;
  readonly random: () => number;
  /** The URL of a service for the next request. */
  readonly url: () => string;
  /** What is known of the store that images are copied to. */
  readonly copied: Ledger;
  /** Copies an image there. Returns false if it is not known whether it was copied. */
  readonly copy: (name: string) => Promise<boolean>;
}

/** After these answers a client tries again. The first two are of a push that has lost what it had sent. */
const passing = /^404 BLOB_UPLOAD_UNKNOWN|^400 MANIFEST_BLOB_UNKNOWN|^409 COMMIT_CONFLICT|^503/;

/** Images of this traffic share layers, so that one needs what another has left. */
const sharedLayers = [10, 11, 1000, 1001, 70_000, 70_001, 400_000, 400_001, 1_000_000, 6_000_000].map((length) =>
  randomBytes(length, length),
);

export class Traffic {
  readonly #options: TrafficOptions;
  #images = 0;
  /** What clients were not told, by name. */
  readonly #failed = new Map<string, Action>();
  /** Answers by action and status. */
  readonly counts = new Map<string, number>();

  constructor(options: TrafficOptions) {
    this.#options = options;
  }

  /** Does these things side by side, again and again. All clients share three repositories, and each has a tag of its own in each. */
  async run(actions: readonly Action[], isOver: () => boolean): Promise<void> {
    const { ledger, random } = this.#options;
    const client = async (kind: Action, number: number): Promise<void> => {
      while (!isOver()) {
        const name = `team/app${Math.floor(random() * 3)}:${kind}${number}`;
        const isNothing = kind === "delete" && ledger.possible(name).has("gone");
        if (!(await this.act(isNothing ? "load" : kind, name))) await sleep(20);
      }
    };
    await Promise.all(actions.map(client));
  }

  /** Tries again what failed, up to four times. Returns what fails still. */
  async tryAgain(): Promise<string[]> {
    for (const [name, action] of this.#failed) {
      for (let tries = 0; tries < 4 && this.#failed.has(name); tries++) await this.act(action, name);
    }
    return [...this.#failed].map(([name, action]) => `${action} ${name}`);
  }

  /** Does one thing to a name, and writes its outcome down. Returns false if the client does not know whether its change was made. */
  async act(action: Action, name: string): Promise<boolean> {
    const isDone = action === "copy" ? await this.#copy(name) : await this.#change(action, name);
    if (isDone) this.#failed.delete(name);
    else this.#failed.set(name, action);
    return isDone;
  }

  async #copy(name: string): Promise<boolean> {
    const { ledger, copied, copy } = this.#options;
    if (!(await this.#change("load", name))) return false;
    const [image = "gone"] = ledger.possible(name);
    copied.doubt(name, image);
    const isDone = await copy(name);
    if (isDone) copied.acknowledge(name, image);
    return isDone;
  }

  async #change(action: Action, name: string): Promise<boolean> {
    const { ledger } = this.#options;
    const content = action === "delete" ? "gone" : this.#nextImage();
    const mayBeGone = ledger.possible(name).has("gone");
    ledger.doubt(name, content);
    const done = content === "gone" ? this.#delete(name, mayBeGone) : this.#bring(action, name, content);
    const failure = await done.catch(failureOf);
    this.count(`${action}: ${failure ?? "done"}`);
    if (failure === undefined) ledger.acknowledge(name, content);
    return failure === undefined;
  }

  /** An image of some of the shared layers that no earlier one equals. */
  #nextImage(): Layout {
    const { random } = this.#options;
    const layers = sharedLayers.filter(() => random() < 0.2);
    return makeLayout({ layers, label: `${this.#images++}` });
  }

  async #delete(name: string, mayBeGone: boolean): Promise<undefined> {
    await this.#ask("DELETE", manifestPath(name), { allowed: mayBeGone ? [404] : [] });
  }

  async #bring(action: Action, name: string, image: Layout): Promise<undefined> {
    if (action === "push") await this.#push(name, image);
    else await this.#ask("PUT", `/v1/load/${name}`, { body: await tarOf(image) });
  }

  async #push(name: string, image: Layout): Promise<void> {
    const { random } = this.#options;
    const [repository = ""] = name.split(":");
    for (const [digest, body] of image.blobs) {
      if (digest === image.digest) continue;
      const head = await this.#ask("HEAD", `/v2/${repository}/blobs/${digest}`, { allowed: [404] });
      if (head.status === 200) continue;
      await this.#pushBlob(repository, digest, body, random() < 0.5);
    }
    const headers = { "Content-Type": types.manifest };
    const body = image.blobs.get(image.digest);
    await this.#ask("PUT", manifestPath(name), { body, headers });
  }

  /** In one request after the first, as containerd does, or as a stream and an empty end, as Docker does. */
  async #pushBlob(repository: string, digest: Digest, body: Buffer, isStream: boolean): Promise<void> {
    const { headers } = await this.#ask("POST", `/v2/${repository}/blobs/uploads/`);
    const session = new URL(headers.get("Location") ?? "", "http://any");
    if (isStream) await this.#ask("PATCH", session.pathname + session.search, { body });
    session.searchParams.set("digest", digest);
    await this.#ask("PUT", session.pathname + session.search, isStream ? {} : { body });
  }

  async #ask(method: string, path: string, request: Asked = {}): Promise<Response> {
    const { body = null, headers = {}, allowed = [] } = request;
    const sent = body as Buffer<ArrayBuffer> | null;
    const response = await fetch(new URL(path, this.#options.url()), { method, headers, body: sent });
    const text = await response.text();
    if (response.ok || allowed.includes(response.status)) return response;
    throw new RefusedError(`${response.status} ${/"code":"(\w+)"/.exec(text)?.[1] ?? ""}`, text);
  }

  count(outcome: string): void {
    this.counts.set(outcome, (this.counts.get(outcome) ?? 0) + 1);
  }
}

function manifestPath(name: string): string {
  return `/v2/${name.replace(":", "/manifests/")}`;
}

interface Asked {
  readonly body?: Buffer | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** Further statuses that are no failure. */
  readonly allowed?: readonly number[];
}

class RefusedError extends Error {
  readonly summary: string;

  constructor(summary: string, text: string) {
    super(`${summary}: ${text}`);
    this.summary = summary;
  }
}

/** Returns what a client may be told while a service or its store dies, or throws. */
function failureOf(error: unknown): string {
  if (error instanceof RefusedError && passing.test(error.summary)) return error.summary;
  if (error instanceof TypeError) return "no answer"; // what `fetch` throws
  throw error;
}
