/**
 * A client that pushes one image, as real clients do: it asks for a blob by HEAD, or asks for a mount, or sends the blob in one
 * request, as a stream or in chunks. Each of its requests goes to any of several services. Then comes the manifest, perhaps hours
 * later. The client begins again after an error, and it may be killed at any moment.
 */
import type { Context, Hono } from "hono";
import type { Clock } from "../../src/clock.ts";
import type { Digest } from "../../src/digest.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import type { Scheduler } from "../commit/scheduler.ts";
import type { Protocol } from "./simulate.ts";
import { type SampleImage, nameOf } from "./sample-images.ts";

const minute = 60_000;
/** The client gives up a request after this time. The services may have been killed. */
const timeoutMs = 120 * minute;
const maxTries = 4;
/** What may go wrong: a store that does not answer, a service that was killed, many writers, a blob that is gone. */
const expectedFailures = ["no answer", "status 503", "STORE_UNAVAILABLE", "COMMIT_CONFLICT", "MANIFEST_BLOB_UNKNOWN"];

export interface PushClientOptions {
  readonly image: SampleImage;
  readonly services: readonly Pick<Hono, "request">[];
  readonly scheduler: Scheduler;
  readonly random: () => number;
  /** For this time a blob stays in the store after a service has told the client that the blob is there. */
  readonly safeMs: number;
  /** The longest pause before the manifest. */
  readonly pauseMs: number;
  readonly onSight: (sight: string) => void;
  readonly onProblem: (problem: string) => void;
}

/** What a service has answered with an error, or has not answered. */
class RequestFailure extends Error {
  readonly code: string;
  readonly digest: Digest | undefined;

  constructor(code: string, digest?: Digest) {
    super(`the push failed: ${code}`);
    this.code = code;
    this.digest = digest;
  }
}

interface Sent {
  readonly body?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

export class PushClient {
  readonly #options: PushClientOptions;
  /** By digest: when the client sent the request whose answer was that the blob is there. */
  readonly #found = new Map<Digest, number>();

  constructor(options: PushClientOptions) {
    this.#options = options;
  }

  async push(): Promise<void> {
    const { onSight, onProblem } = this.#options;
    let wasTold = false;
    for (let tries = 1; tries <= maxTries; tries++) {
      try {
        const isPushed = await this.#pushOnce(tries === 1);
        onSight(isPushed ? "a push ended well" : "a push was killed");
        if (isPushed && wasTold) onSight("a push that was told what is lost ended well");
        return;
      } catch (error) {
        if (!(error instanceof RequestFailure)) throw error;
        onSight(`a push failed: ${error.code}`);
        if (!expectedFailures.includes(error.code)) onProblem(error.message);
        if (error.code === "MANIFEST_BLOB_UNKNOWN") this.#checkLoss(error);
        wasTold ||= error.code === "MANIFEST_BLOB_UNKNOWN";
      }
    }
  }

  /** A client may be told that a blob is lost, but not while the blob had to be safe. */
  #checkLoss({ digest = "sha256:" }: RequestFailure): void {
    const { scheduler, safeMs, onProblem } = this.#options;
    const ageMs = scheduler.now - (this.#found.get(digest) ?? scheduler.now);
    if (ageMs < safeMs)
      onProblem(`a push has lost ${digest}, which was there ${Math.ceil(ageMs / minute)} minutes ago`);
  }

  /** Returns false if the client is killed. */
  async #pushOnce(maySleep: boolean): Promise<boolean> {
    const { image, random, scheduler, pauseMs, safeMs } = this.#options;
    const isKilled = (): boolean => random() < 0.01;
    for (const digest of image.parts) {
      if (isKilled()) return false;
      await this.#bring(digest, bytesOf(image, digest));
    }
    if (maySleep) await this.#sleep(random() * pauseMs);
    const began = scheduler.now;
    for (const digest of image.children) {
      if (isKilled()) return false;
      await this.#putManifest(digest, digest, image);
    }
    // An index without its parts would be sparse, which is allowed.
    if (isKilled() || scheduler.now - began > safeMs / 2) return false;
    await this.#putManifest(nameOf(image.change), image.root.digest, image);
    return true;
  }

  async #bring(digest: Digest, bytes: Uint8Array): Promise<void> {
    const { random, scheduler, onSight } = this.#options;
    const began = scheduler.now;
    const isFound = (random() < 0.5 && (await this.#head(digest))) || (random() < 0.3 && (await this.#mount(digest)));
    if (!isFound) {
      const how = (["whole", "closed", "streamed", "chunked"] as const)[Math.floor(random() * 4)] ?? "whole";
      await this.#sendBlob(digest, bytes, how);
      onSight(`a push sent a blob, ${how}`);
    }
    this.#found.set(digest, began);
  }

  async #head(digest: Digest): Promise<boolean> {
    const { status } = await this.#send("HEAD", `/v2/images/blobs/${digest}`, [200, 404]);
    if (status === 200) this.#options.onSight("a push found a blob");
    return status === 200;
  }

  async #mount(digest: Digest): Promise<boolean> {
    const { status } = await this.#send("POST", `/v2/images/blobs/uploads/?mount=${digest}&from=images`, [201, 202]);
    if (status === 201) this.#options.onSight("a push mounted a blob");
    return status === 201;
  }

  async #sendBlob(digest: Digest, bytes: Uint8Array, how: "whole" | "closed" | "streamed" | "chunked"): Promise<void> {
    const uploads = "/v2/images/blobs/uploads/";
    if (how === "whole") {
      await this.#send("POST", `${uploads}?digest=${digest}`, [201], { body: bytes, headers: lengthOf(bytes) });
      return;
    }
    const begun = await this.#send("POST", uploads, [202]);
    const session = begun.headers.get("Location") ?? "";
    const half = bytes.length >> 1;
    const chunks = { closed: [], streamed: [bytes], chunked: [bytes.subarray(0, half), bytes.subarray(half)] }[how];
    for (const body of chunks) {
      const first = body.byteOffset - bytes.byteOffset;
      const range = { ...lengthOf(body), "Content-Range": `${first}-${first + body.length - 1}` };
      await this.#send("PATCH", session, [202], { body, ...(how === "chunked" && { headers: range }) });
    }
    const rest = how === "closed" ? { body: bytes, headers: lengthOf(bytes) } : {};
    await this.#send("PUT", `${session}?digest=${digest}`, [201], rest);
  }

  async #putManifest(reference: string, digest: Digest, image: SampleImage): Promise<void> {
    const began = this.#options.scheduler.now;
    const body = bytesOf(image, digest);
    await this.#send("PUT", `/v2/images/manifests/${reference}`, [201], { body, headers: lengthOf(body) });
    this.#found.set(digest, began);
  }

  /** Throws a `RequestFailure` if the answer has none of these statuses, or if no answer comes. */
  async #send(method: string, path: string, expected: readonly number[], sent: Sent = {}): Promise<Response> {
    const { services, random } = this.#options;
    const service = services[Math.floor(random() * services.length)];
    const { body = new Uint8Array(), headers = {} } = sent;
    const asked = service?.request(path, { method, headers }, { body });
    const answer = await Promise.race([asked, this.#sleep(timeoutMs)]);
    if (answer === undefined) throw new RequestFailure("no answer");
    if (expected.includes(answer.status)) return answer;
    if (method === "HEAD") throw new RequestFailure(`status ${answer.status}`);
    const { errors } = (await answer.json()) as { errors: { code: string; detail?: { digest?: Digest } }[] };
    throw new RequestFailure(errors[0]?.code ?? "no code", errors[0]?.detail?.digest);
  }

  async #sleep(ms: number): Promise<undefined> {
    return new Promise((resolve) => this.#options.scheduler.after(ms, () => resolve(undefined)));
  }
}

interface RequestEnv {
  readonly Bindings: { readonly body: Uint8Array };
}

/** A process that serves. A request's body comes with its environment: a web stream would take real time. */
export function openService(
  { createApp, Layout }: Pick<Protocol, "createApp" | "Layout">,
  { store, clock }: { readonly store: ObjectStore; readonly clock: Clock },
): Hono {
  const bodyOf = ({ env }: Context<RequestEnv>): AsyncIterable<Uint8Array> => once(env.body);
  return createApp({ layout: Layout.open(store, { clock }), access: "anyone", bodyOf });
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield Uint8Array.from(bytes);
}

function bytesOf({ blobs }: SampleImage, digest: Digest): Uint8Array {
  const bytes = blobs.get(digest);
  if (bytes === undefined) throw new Error(`expected a blob ${digest}`);
  return bytes;
}

function lengthOf({ length }: Uint8Array): Record<string, string> {
  return { "Content-Length": String(length) };
}
