/** Stands between the command line and a service, writes down what is asked, and does harm where a test wants it. */
import { once } from "node:events";
import { type IncomingMessage, type ServerResponse, createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll } from "vitest";

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly authorization: string | undefined;
  /** Bytes of its body that were passed on. */
  bytes: number;
  /** Undefined while there is no answer. */
  status?: number;
}

/**
 * `cut`: the connection ends in the middle of the body. `reset`: it ends at once. `stall`: nothing happens any more. A
 * number: the answer's status.
 */
export type Fault = "cut" | "reset" | "stall" | number | FaultyAnswer;

interface FaultyAnswer {
  readonly status: number;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface FaultyProxy {
  readonly url: string;
  /** In the order in which they came. */
  readonly seen: readonly SeenRequest[];
  /** Those that were passed on and went well, by method and the end of the path. */
  taken(method: string, path: RegExp): readonly SeenRequest[];
}

const closers: (() => void)[] = [];
afterAll(() => {
  for (const close of closers) close();
});

export interface ProxyOptions {
  /** What the service sees as Host, so that its own URLs lead nowhere; by default they lead back to the proxy. */
  readonly host?: string;
}

/**
 * `faultOf` is asked for each request; undefined passes it on to the service. With several services, each request goes to the next one.
 */
export async function startProxy(
  serviceUrls: string | readonly string[],
  faultOf: (request: SeenRequest, proxy: FaultyProxy) => Promise<Fault | undefined> | Fault | undefined = () =>
    undefined,
  options: ProxyOptions = {},
): Promise<FaultyProxy> {
  const seen: SeenRequest[] = [];
  const urls = [serviceUrls].flat();
  const server = createServer((incoming, response) => {
    incoming.on("error", () => undefined);
    response.on("error", () => undefined);
    const { method = "", url: path = "", headers } = incoming;
    const one: SeenRequest = { method, path, authorization: headers.authorization, bytes: 0 };
    const serviceUrl = urls[seen.length % urls.length] ?? "";
    seen.push(one);
    void Promise.resolve(faultOf(one, proxy)).then((fault) => {
      if (fault === undefined) passOn(serviceUrl, { incoming, response, one }, options);
      else if (fault === "cut") incoming.once("data", () => incoming.destroy());
      else if (fault === "reset") incoming.socket.resetAndDestroy();
      else if (typeof fault === "number") response.writeHead(fault).end();
      else if (fault !== "stall") response.writeHead(fault.status, fault.headers).end(fault.body);
    });
  });
  server.keepAliveTimeout = 600_000; // the answers of the service promise more than Node's own 5 seconds
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const proxy: FaultyProxy = {
    url: `http://127.0.0.1:${port}`,
    seen,
    taken: (method, path) =>
      seen.filter((it) => it.method === method && path.test(it.path) && it.status !== undefined && it.status < 300),
  };
  return proxy;
}

interface Passed {
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
  readonly one: SeenRequest;
}

function passOn(serviceUrl: string, { incoming, response, one }: Passed, { host }: ProxyOptions): void {
  const { method } = incoming;
  const headers = { ...incoming.headers, ...(host !== undefined && { host }) };
  const outgoing = request(new URL(one.path, serviceUrl), { method, headers }, (answer) => {
    one.status = answer.statusCode ?? 0;
    response.writeHead(one.status, answer.headers);
    answer.pipe(response);
  });
  outgoing.on("error", () => response.destroy());
  incoming.on("data", ({ length }: Buffer) => void (one.bytes += length));
  incoming.pipe(outgoing);
  incoming.on("close", () => {
    if (!incoming.complete) outgoing.destroy();
  });
}
