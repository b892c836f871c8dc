/** An HTTP proxy that does harm to what passes: between Stowage and a real S3 server, or between a client and Stowage. */
import { once } from "node:events";
import {
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
  createServer,
  request as sendRequest,
} from "node:http";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";

export const faults = [
  "delay",
  "close before the request",
  "close within the request",
  "close within the answer",
  "lose the answer",
  "flip a bit of the request",
  "answer 500",
  "answer 503 SlowDown",
  "answer 429",
  "answer 400 RequestTimeout",
] as const;

/** The connection stays open and silent for longer than its ends wait in these tests. */
export const stalls = ["stall before the request", "stall within the request", "stall within the answer"] as const;

export type Fault = (typeof faults)[number] | (typeof stalls)[number] | "flip a bit of the answer";

export interface FaultProxy {
  readonly port: number;
  /** Requests that have come. */
  readonly requests: () => number;
  close(): void;
}

const delayMs = 300;
const stallMs = 3000;

/** Forwards to a port of this machine. `choose` names the harm for each request, by its number from 0 on. */
export async function startFaultProxy(
  target: number,
  choose: (number: number, request: IncomingMessage) => Fault | undefined,
): Promise<FaultProxy> {
  let requests = 0;
  const server = createServer({ requestTimeout: 0, keepAliveTimeout: 1000 }, (request, response) => {
    const { socket } = request; // a request that has failed names none
    forward(target, request, response, choose(requests++, request)).catch(() => socket.destroy());
  });
  server.on("clientError", (_, socket) => socket.destroy());
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    port: address.port,
    requests: () => requests,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function forward(
  port: number,
  request: IncomingMessage,
  response: ServerResponse,
  fault: Fault | undefined,
): Promise<void> {
  if (fault === "close before the request") {
    request.socket.destroy();
    return;
  }
  if (fault === "stall before the request") {
    await sleep(stallMs);
    throw new Error(fault);
  }
  const [, status, code] = /^answer (\d+) ?(.*)$/.exec(fault ?? "") ?? [];
  if (status !== undefined) {
    for await (const _ of request);
    response.writeHead(Number(status), { "Content-Type": "application/xml" });
    response.end(request.method === "HEAD" ? "" : `<Error><Code>${code || "InternalError"}</Code></Error>`);
    return;
  }
  if (fault === "delay") await sleep(delayMs);
  const { method, url, headers } = request;
  const passed = sendRequest({ host: "127.0.0.1", port, method, path: url, headers });
  const answered = once(passed, "response") as Promise<[IncomingMessage]>;
  answered.catch(() => undefined); // the pipeline below fails too
  const harmOfRequest = fault === "flip a bit of the answer" ? undefined : fault;
  const harmed = (chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer> =>
    harmMiddle(chunks, middleOf(headers), harmOfRequest);
  await pipeline(request, harmed, passed);
  const [answer] = await answered;
  if (fault === "lose the answer") {
    for await (const _ of answer);
    throw new Error(fault);
  }
  response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
  if (fault === "close within the answer" || fault === "stall within the answer") {
    response.flushHeaders();
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      response.write(chunk.subarray(0, chunk.length / 2));
      break;
    }
    await sleep(fault === "close within the answer" ? 20 : stallMs); // what was written shall arrive
    throw new Error(fault);
  }
  const harm = fault === "flip a bit of the answer" ? fault : undefined;
  await pipeline(
    answer,
    (chunks: AsyncIterable<Buffer>) => harmMiddle(chunks, middleOf(answer.headers), harm),
    response,
  );
}

/** 0 for a body of unknown length. */
function middleOf({ "content-length": length = "0" }: IncomingHttpHeaders): number {
  return Math.floor(Number(length) / 2);
}

/** Passes on a body. The byte in its middle is changed, or never comes. */
async function* harmMiddle(
  chunks: AsyncIterable<Buffer>,
  middle: number,
  fault: Fault | undefined,
): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of chunks) {
    const at = middle - bytes;
    bytes += chunk.length;
    if (at >= 0 && at < chunk.length) {
      if (fault === "stall within the request") await sleep(stallMs);
      if (fault?.endsWith("within the request")) throw new Error(fault);
      if (fault?.startsWith("flip")) chunk.writeUInt8(chunk.readUInt8(at) ^ 1, at);
    }
    yield chunk;
  }
}
