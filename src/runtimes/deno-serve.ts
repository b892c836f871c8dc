/** The service under `deno serve`: Deno listens, and calls the `fetch` of the main module. */
import type { Hono } from "hono";
import { isLoopback } from "../loopback.ts";
import { readableToBytes } from "../streams/readable-stream.ts";
import { runProgram, urlOf } from "./run-service.ts";

export class DenoServe {
  /** The default export of the main module. */
  readonly handlers = {
    fetch: async (request: Request, info: Deno.ServeHandlerInfo): Promise<Response> => {
      this.#track(info.completed.catch(() => undefined)); // it rejects if the client has gone
      return (await this.#fetch)(request);
    },
    onListen: (address: Deno.Addr): void => {
      this.#isListening = true;
      void this.#run(address);
    },
  };

  #isListening = false;
  #start: (fetch: Hono["fetch"]) => void = () => undefined;
  readonly #fetch = new Promise<Hono["fetch"]>((resolve) => (this.#start = resolve));
  /** The answers that are being sent. */
  readonly #running = new Set<Promise<void>>();

  get isListening(): boolean {
    return this.#isListening;
  }

  async #run(address: Deno.Addr): Promise<void> {
    let cut = (): void => undefined;
    const isCut = new Promise<void>((resolve) => (cut = resolve));
    const { hostname, port } = "hostname" in address ? address : { hostname: "0.0.0.0", port: 0 };
    await runProgram({
      bodyOf: (c) => readableToBytes(c.req.raw.body),
      isReachable: !isLoopback(hostname),
      ignores: ["HOST", "PORT", "STOWAGE_KEEP_ALIVE_SECONDS", "STOWAGE_MAX_CONNECTIONS", "STOWAGE_GC_EVERY"],
      listen: async (fetch) => {
        this.#start(fetch);
        return {
          url: urlOf(hostname, port),
          close: async () => void (await Promise.race([Promise.all(this.#running), isCut])),
          cut,
        };
      },
    });
  }

  #track(answer: Promise<void>): void {
    this.#running.add(answer);
    void answer.then(() => this.#running.delete(answer));
  }
}
